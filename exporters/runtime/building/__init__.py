"""The library of sparse kernels is compiled as wfpipe is installed. Standard library only."""
