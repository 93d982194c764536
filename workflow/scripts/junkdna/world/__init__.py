"""The micro-world of the model organisms: facts, corpus, data sets, tokenizer, all made from one recipe."""
