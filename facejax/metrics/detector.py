"""Does a picture contain a face? Asked of detectors that were not written here.

Such a detector is nearly blind to bad texture: geometry alone passes. It is a necessary check only.
"""

import numpy as np


def face_detector():
    """(name, function) of the first detector that is installed, or None.

    The function maps a picture [H, W, 3] uint8 to whether it contains a face. OpenCV 4 brings its
    frontal Haar cascade (OpenCV 5 ships no cascades), scikit-image its LBP cascade.
    """
    return _opencv() or _skimage()


def _opencv():
    try:
        import cv2

        path = cv2.data.haarcascades + "haarcascade_frontalface_default.xml"
        cascade = cv2.CascadeClassifier(path)
    except (ImportError, AttributeError):
        return None
    if cascade.empty():
        return None

    def detect(picture: np.ndarray) -> bool:
        gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        return len(cascade.detectMultiScale(gray, scaleFactor=1.1, minNeighbors=5)) > 0

    return "opencv-haar-frontal-default", detect


def _skimage():
    try:
        from skimage import data
        from skimage.feature import Cascade

        cascade = Cascade(data.lbp_frontal_face_cascade_filename())
    except ImportError:
        return None

    def detect(picture: np.ndarray) -> bool:
        size = min(picture.shape[:2])
        found = cascade.detect_multi_scale(
            img=picture,
            scale_factor=1.1,
            step_ratio=1,
            min_size=(size // 4, size // 4),
            max_size=(size, size),
        )
        return len(found) > 0

    return "skimage-lbp-frontal", detect
