"""What both sides' adapters to Flower share. Nothing else in common code knows that there is a Flower."""
