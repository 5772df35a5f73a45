"""The layers in front of moto that make it serve what AWS serves."""
