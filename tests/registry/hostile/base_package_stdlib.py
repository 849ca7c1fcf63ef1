_base_ = 'json::tool.py'
