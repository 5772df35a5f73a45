"""The resources on AWS that maps run on: what to make, and how to find it again."""
