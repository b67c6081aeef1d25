"""The command line of `echoup`: its commands, their options, and what helps to write them."""
