"""The image, and all that is deployed with it: built and run by podman, with `-m image`."""
