"""labelmap: segmentation in compressed label blocks, with bodies made of supervoxels, versioned."""
