#!/usr/bin/env bash
# Makes the virtual environment of cloudknot, which bundlerun's maps are measured against; prints the
# path of its Python. It is as published: nothing is put right.
. "$(dirname "${BASH_SOURCE[0]}")/peer_env.sh"
begin cloudknot
# Its import makes clients, which need a region.
AWS_DEFAULT_REGION=us-east-1 HOME=$(mktemp -d) end cloudknot
