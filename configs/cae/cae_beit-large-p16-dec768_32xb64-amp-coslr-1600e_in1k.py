# CAE-large exactly as the authors' shell script runs it: a line without its
# continuation drops decoder width, heads and the initialisation flag, so
# regressor and decoder are 768 wide behind a projection, with xavier weights.
# Which of the two made the released weights is not known.
_base_ = './cae_beit-large-p16_32xb64-amp-coslr-1600e_in1k.py'

model = dict(
    backbone=dict(weight_init='xavier'),
    neck=dict(
        embed_dims=768,
        num_heads=12,
        layer_scale_init_value=1e-5,
        weight_init='xavier'))
