"""deepdigits: a reproducible MNIST pipeline of CNN, RNN and GAN."""
