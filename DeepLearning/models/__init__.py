"""The networks by name: what a checkpoint, a table and `--run` call them."""

from DeepLearning.models.attention_lstm import AttentionLSTM

MODELS = {network.__name__: network for network in (AttentionLSTM,)}
