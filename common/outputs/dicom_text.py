"""Text in the DICOM objects that are written."""

CHARACTER_SET = "ISO_IR 192"  # UTF-8: names of patients and prompts in any script
CHARACTERS = 64  # of a SegmentLabel or an ROIName (VR LO)


def dicom_name(name: str) -> str:
    """A prompt's name as a value of VR LO, in which a backslash would begin a second value."""
    return name.replace("\\", "/")[:CHARACTERS]
