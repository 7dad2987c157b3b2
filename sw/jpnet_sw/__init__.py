"""Training: data, models, sparsity, quantisation, metrics; and the compiler."""
