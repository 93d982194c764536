"""Pre-training on real text: recipe, corpus, tokenizer, training."""
