"""The Deep3D family's pieces for any face model: decoder, networks, a step towards landmarks."""
