"""The files of contrib/docker, performed: `make images-test`."""
