// The judge of recorded histories: porcupine, an existing linearizability checker.
module partita.dev/tests/torture/linearizability

go 1.26.0

require github.com/anishathalye/porcupine v1.3.1
