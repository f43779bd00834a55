"""What a segmentation is written as: masks, label maps, previews, probabilities, DICOM SEG and RTSTRUCT."""
