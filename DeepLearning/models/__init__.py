"""The networks by name: what a checkpoint, a table and `--run` call them."""

from DeepLearning.models.attention_conv_lstm import AttentionConvLSTM
from DeepLearning.models.attention_lstm import AttentionLSTM
from DeepLearning.models.conv_lstm import ConvLSTM
from DeepLearning.models.lstm import LSTM
from DeepLearning.models.simvp import SimVP
from DeepLearning.models.unet import UNet

NETWORKS = (LSTM, AttentionLSTM, ConvLSTM, AttentionConvLSTM, UNet, SimVP)
MODELS = {network.__name__: network for network in NETWORKS}
