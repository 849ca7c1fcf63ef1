"""The Segmentor, small backbones and heads."""
