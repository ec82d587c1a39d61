"""Colour of skin from its two chromophores, melanin and blood: spectra to linear sRGB (numpy).

Skin is an absorbing epidermis over a scattering dermis, so its reflectance is

    R(wavelength) = T2(melanin) R_dermis(blood)

with T2 the epidermis passed twice and R_dermis by Kubelka and Munk for a thick layer. In the
logarithm the two chromophores add up, as Tsumura et al. 1999 ("Independent-component analysis of
skin color image", JOSA A 16) found in pictures of skin; Jimenez et al. 2010 ("A practical
appearance model for dynamic facial color") and Alotaibi and Smith 2017 ("A biophysical 3D morphable
model of face appearance") render faces this way. The numbers:

* melanin absorbs as wavelength^-3.33, skin without it (0.0244 + 8.53 exp(-(wavelength - 154) /
  66.2)) / mm: Jacques 1998, "Skin optics". Melanin lies in grains and caps, so that its optical
  depth varies from place to place (sieve effect): with an exponential distribution of mean tau,
  T2 = 1 / (1 + 2 tau). Beer and Lambert's exp(-2 tau) makes dark skin orange (b* 40); with the
  grains b* stays in the 10 to 22 that is measured on faces (Xiao et al. 2017).
* blood, volume fraction 0.2 to 7 %, three quarters oxygenated: Jacques 1998; extinction of
  haemoglobin: Prahl 1999, compiled from Gratzer and Kollias; 150 g/l at 64,500 g/mol.
* scattering of the dermis, 2e4 wavelength^-1.5 + 2e11 wavelength^-4 / mm: Jacques 1998.
* observer: the fits of Wyman et al. 2013 to CIE 1931; illuminant: CIE D65.

The range of tones is described by the individual typology angle ITA = atan2(L* - 50, b*) (Chardon
et al. 1991): very light above 55 degrees, light 41, intermediate 28, tan 10, brown -30, dark below.
"""

import functools

import numpy as np

ITA_LIGHTEST, ITA_DARKEST = 66.0, -56.0  # degrees, at melanin 0 and 1
BLOOD_RANGE = (0.006, 0.045)  # volume fraction in the dermis at blood 0 and 1
TONES, BLOODS = 33, 9  # knots of `skin_table`

_NM = np.arange(400, 701, 10)
# molar extinction of oxygenated and deoxygenated haemoglobin, 1 / (cm M), 400 to 700 nm
_HBO2 = np.array([
    266232, 466840, 480360, 246072, 102580, 62816, 44480, 33209, 26629, 23684, 20933, 20035, 24202,
    39957, 53236, 43016, 32613, 44496, 50104, 14401, 3200, 1506, 942, 610, 442, 368, 320, 294, 278,
    276, 290,
])  # fmt: skip
_HB = np.array([
    223296, 303956, 407560, 528600, 413280, 103292, 23389, 16156, 14550, 16684, 20862, 25774,
    31590,
    39037, 46592, 53412, 53788, 45072, 37020, 28324, 14677, 9444, 6510, 5149, 4345, 3750, 3227,
    2795, 2408, 2052, 1794,
])  # fmt: skip
_D65 = np.array([
    82.75, 91.49, 93.43, 86.68, 104.86, 117.01, 117.81, 114.86, 115.92, 108.81, 109.35, 107.80,
    104.79, 107.69, 104.41, 104.05, 100.00, 96.33, 95.79, 88.69, 90.01, 89.60, 87.70, 83.29, 83.70,
    80.03, 80.21, 82.28, 78.28, 69.72, 71.61,
])  # fmt: skip
_RGB_FROM_XYZ = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])
_OXYGENATED = 0.75
_EPIDERMIS_MM = 0.06


def _observer() -> np.ndarray:
    """[3, wavelengths]: the CIE 1931 colour matching functions (Wyman et al. 2013, eq. 4)."""

    def lobe(height, middle, below, above):
        scale = np.where(middle > _NM, below, above)
        return height * np.exp(-0.5 * ((_NM - middle) * scale) ** 2)

    return np.stack(
        [
            lobe(1.056, 599.8, 1 / 37.9, 1 / 31.0)
            + lobe(0.362, 442.0, 1 / 16.0, 1 / 26.7)
            + lobe(-0.065, 501.1, 1 / 20.4, 1 / 26.2),
            lobe(0.821, 568.8, 1 / 46.9, 1 / 40.5) + lobe(0.286, 530.9, 1 / 16.3, 1 / 31.1),
            lobe(1.217, 437.0, 1 / 11.8, 1 / 36.0) + lobe(0.681, 459.0, 1 / 26.0, 1 / 13.8),
        ]
    )


def linear_rgb(reflectance: np.ndarray) -> np.ndarray:
    """Linear sRGB [..., 3] of reflectances [..., wavelengths] in daylight; white is 1."""
    weights = _observer() * _D65
    xyz = reflectance @ (weights / weights.sum(axis=1, keepdims=True)).T * _WHITE
    return xyz @ _RGB_FROM_XYZ.T


def reflectance(melanin_depth: np.ndarray, blood_fraction: np.ndarray) -> np.ndarray:
    """Reflectance of skin, [..., wavelengths].

    Args:
      melanin_depth: [...] mean optical depth of the epidermis at 550 nm, passed once.
      blood_fraction: [...] volume fraction of blood in the dermis.
    """
    depth, blood = np.asarray(melanin_depth)[..., None], np.asarray(blood_fraction)[..., None]
    plain = 0.0244 + 8.53 * np.exp(-(_NM - 154) / 66.2)  # 1 / mm
    through = np.exp(-2 * plain * _EPIDERMIS_MM) / (1 + 2 * depth * (_NM / 550) ** -3.33)
    extinction = _OXYGENATED * _HBO2 + (1 - _OXYGENATED) * _HB
    haemoglobin = np.log(10) * extinction * 150 / 64500 / 10  # 1 / mm
    dermis = blood * haemoglobin + (1 - blood) * plain
    scattering = 2e4 * _NM**-1.5 + 2e11 * _NM.astype(float) ** -4
    ratio = dermis / scattering * (8 / 3)  # K / S of Kubelka and Munk: 2 mu_a / (3/4 mu_s')
    return through * (1 + ratio - np.sqrt(ratio**2 + 2 * ratio))


def lab(linear: np.ndarray) -> np.ndarray:
    """CIE L*a*b* [..., 3] of linear sRGB [..., 3], white point D65."""
    t = np.asarray(linear) @ np.linalg.inv(_RGB_FROM_XYZ).T / _WHITE
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def typology_angle(linear: np.ndarray) -> np.ndarray:
    """Individual typology angle [...] in degrees of linear sRGB [..., 3] (Chardon et al. 1991)."""
    color = lab(linear)
    return np.degrees(np.arctan2(color[..., 0] - 50, color[..., 2]))


@functools.cache
def skin_table() -> np.ndarray:
    """Logarithm of linear sRGB, [TONES, BLOODS, 3], over equal steps of melanin and blood.

    Melanin 0 to 1 is linear in the typology angle of skin with blood 0.5; blood 0 to 1 is
    logarithmic in the volume fraction.
    """
    blood = np.geomspace(*BLOOD_RANGE, BLOODS)
    depth = np.geomspace(1e-3, 20, 400)
    middle = np.full_like(depth, blood[BLOODS // 2])
    angle = typology_angle(linear_rgb(reflectance(depth, middle)))
    wanted = np.linspace(ITA_LIGHTEST, ITA_DARKEST, TONES)
    depth = np.exp(np.interp(-wanted, -angle, np.log(depth)))
    color = linear_rgb(reflectance(depth[:, None], blood[None, :]))
    return np.log(color).astype(np.float32)
