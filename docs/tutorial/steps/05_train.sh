seg train fields.py --work-dir run &
until [ -e run/iter_60.pth ]; do sleep 0.1; kill -0 $! || exit 1; done
kill -9 $!
