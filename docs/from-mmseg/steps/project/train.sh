#!/usr/bin/env bash
bash tools/dist_train.sh configs/street.py 4 --work-dir work_dirs/street
