# The steps of .ci/run, one function each. A step fails by a non-zero status.
# shellcheck shell=bash

GOLANGCI_LINT=v2.15.0
VERSITYGW=v1.8.0
PEBBLE=v2.10.1
GOVULNCHECK=v1.6.0

# step NAME: names and times one step; a failed one ends the run, by name.
# The function runs in a subshell of its own, outside any condition, so that
# set -e holds within it.
step() {
  local name=$1 began=$SECONDS status
  printf '\n== %s\n' "$name"
  set +e
  (set -euo pipefail; "step_$name")
  status=$?
  set -e
  if ((status)); then
    printf '== %s FAILED after %ds\n' "$name" $((SECONDS - began))
    exit "$status"
  fi
  if [[ $name != test ]]; then printf '== %s ok, %ds\n' "$name" $((SECONDS - began)); fi
}

# quietly CMD...: the output is shown only when the command fails, and without
# the hosts that a package client happened to talk to.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 || status=$?
  if ((status)); then tail -n 40 "$log" | sed -E 's#https?://[^/[:space:]"]+#<host>#g'; fi
  rm -f "$log"
  return "$status"
}

as_root() {
  if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# Debian packages: chromium for the console, a C compiler for -race, jq and lz4
# for the tour's real data.
step_machine() {
  local missing=()
  command -v chromium >/dev/null || missing+=(chromium)
  command -v gcc >/dev/null || missing+=(gcc libc6-dev)
  command -v jq >/dev/null || missing+=(jq)
  command -v lz4 >/dev/null || missing+=(lz4)
  if ((${#missing[@]})); then
    echo "installing ${missing[*]}"
    quietly as_root apt-get update
    quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
  fi
  go version
  echo "node $(node --version), npm $(npm --version), $(nproc) cores"
}

step_tools() {
  install_tool golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint "$GOLANGCI_LINT"
  install_tool versitygw github.com/versity/versitygw/cmd/versitygw "$VERSITYGW"
  install_tool pebble github.com/letsencrypt/pebble/v2/cmd/pebble "$PEBBLE"
  install_tool govulncheck golang.org/x/vuln/cmd/govulncheck "$GOVULNCHECK"
}

# install_tool NAME PACKAGE VERSION: builds it into the cache unless exactly
# that version is there, built by this Go.
install_tool() {
  local bin="$HOLDFAST_TEST_CACHE/bin/$1"
  if [[ -x $bin ]] && go version -m "$bin" | awk -v v="$3" -v go="$(go env GOVERSION)" '
      NR == 1 && index($0, go) { sameGo = 1 } $1 == "mod" && $3 == v { same = 1 } END { exit !(same && sameGo) }'; then
    echo "$1 $3 (cached)"
    return
  fi
  GOBIN="$HOLDFAST_TEST_CACHE/bin" quietly go install "$2@$3"
  echo "$1 $3"
}

step_format() {
  local files
  files=$(git ls-files '*.go' | xargs -r gofmt -l)
  if [[ -n $files ]]; then
    printf 'not gofmt clean:\n%s\n' "$files"
    return 1
  fi
}

step_modules() {
  quietly go mod download
  go mod tidy -diff
  quietly go mod verify
}

step_build() { go build ./...; }

step_vet() {
  go vet ./...
  go vet -tags movedclock ./app
}

# The committed console must be what its source builds.
step_ui() {
  quietly npm --prefix ui/console ci --no-audit --no-fund
  npm --prefix ui/console run check
  npm --prefix ui/console test
  npm --prefix ui/console run build
  local changed
  changed=$(git status --porcelain -- ui/dist)
  if [[ -n $changed ]]; then
    printf 'ui/dist is not what ui/console builds:\n%s\n' "$changed"
    return 1
  fi
}

# golangci-lint has staticcheck in it, all of its checks: it is not run a second time.
step_lint() { golangci-lint run ./...; }

# The vulnerability database may be out of reach: that is said and fails nothing. A finding
# fails, and so does a check that ended without a verdict though it had its data.
step_vulnerabilities() {
  local log status=0
  log=$(mktemp)
  timeout 180 govulncheck ./... >"$log" 2>&1 || status=$?
  case $status in
    0) echo "no known vulnerability is called" ;;
    3) cat "$log"; return 1 ;;
    124) echo "SKIPPED, nothing was checked: the vulnerability database did not answer within 180 s" ;;
    *)
      if ! grep -qiE 'fetching vulnerabilities|dial tcp|no such host|connection refused|forbidden|TLS handshake|deadline exceeded' "$log"; then
        tail -n 20 "$log"
        return 1
      fi
      echo "SKIPPED, nothing was checked: the vulnerability database cannot be reached"
      ;;
  esac
}

# Each fuzz target for a fixed count beyond its seeds. A package is built once,
# and run as go test would: in its own folder. Without the coverage instrumentation
# of -fuzz, for which every dependency would be built anew: nothing is searched here.
step_fuzz() {
  local package target bin cache
  bin=$(mktemp)
  cache="$HOLDFAST_TEST_CACHE/fuzz"
  while read -r package; do
    go test -c -o "$bin" "./$package"
    while read -r target; do
      echo "$package $target"
      (cd "$package" && quietly "$bin" -test.run '^$' -test.fuzz "^$target\$" -test.fuzzcachedir "$cache/$package" \
        -test.fuzztime "${HOLDFAST_FUZZ:-200x}" -test.timeout 5m)
    done < <("$bin" -test.list '^Fuzz')
  done < <(git grep -l '^func Fuzz' -- '*_test.go' | xargs -r -n1 dirname | sort -u)
  rm -f "$bin"
}

# What the race detector can see nothing in, and makes ten times slower: SQLite, which is one
# package made from WebAssembly whose memory is not the Go heap, and what hashes passwords,
# which is arithmetic on one goroutine's own numbers. They are built without it; all that calls
# them, SQLite's driver included, is watched. The acceptance tests build the binary likewise.
UNWATCHED=(
  github.com/ncruces/go-sqlite3-wasm/...
  golang.org/x/crypto/{argon2,blake2b,blowfish,scrypt}
)

step_race() {
  local package
  for package in "${UNWATCHED[@]}"; do GOFLAGS="${GOFLAGS:-} -gcflags=$package=-race=false"; done
  export GOFLAGS
  go test -race -short -timeout 30m ./...
}

step_test() { go test -timeout 30m ./...; }
