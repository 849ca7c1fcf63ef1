import torch

x = torch.load('x.pth')
