"""How a bundle is computed: tested on a real store, with pipelines written to a folder."""
