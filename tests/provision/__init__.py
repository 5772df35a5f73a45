"""The resources on AWS that maps run on."""
