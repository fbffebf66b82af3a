package main

import (
	"os"
	"path/filepath"
	"testing"
)

// What is judged, and how.
var histories = []struct {
	name, lines string
	status      int
}{
	{"one after the other", `{"key":"k","call":1,"return":2,"op":"put","value":"a","outcome":"ok"}
{"key":"k","call":3,"return":4,"op":"get","outcome":"ok","read":"a"}`, 0},
	{"a stale read", `{"key":"k","call":1,"return":2,"op":"put","value":"a","outcome":"ok"}
{"key":"k","call":3,"return":4,"op":"put","value":"b","outcome":"ok","read":"a"}
{"key":"k","call":5,"return":6,"op":"get","outcome":"ok","read":"a"}`, 1},
	{"an acknowledged write is gone", `{"key":"k","call":1,"return":2,"op":"put","value":"a","outcome":"ok"}
{"key":"k","call":3,"return":4,"op":"get","outcome":"ok"}`, 1},
	{"side by side, either order", `{"key":"k","call":1,"return":9,"op":"put","value":"a","outcome":"ok"}
{"key":"k","call":2,"return":3,"op":"get","outcome":"ok"}
{"key":"k","call":4,"return":5,"op":"get","outcome":"ok","read":"a"}`, 0},
	{"back and forth", `{"key":"k","call":1,"return":9,"op":"put","value":"a","outcome":"ok"}
{"key":"k","call":2,"return":3,"op":"get","outcome":"ok","read":"a"}
{"key":"k","call":4,"return":5,"op":"get","outcome":"ok"}`, 1},
	{"a write of unknown fate shows late", `{"key":"k","call":1,"return":2,"op":"put","value":"a","outcome":"unknown"}
{"key":"k","call":3,"return":4,"op":"get","outcome":"ok"}
{"key":"k","call":5,"return":6,"op":"get","outcome":"ok","read":"a"}`, 0},
	{"but not before it began", `{"key":"k","call":1,"return":2,"op":"get","outcome":"ok","read":"a"}
{"key":"k","call":3,"return":4,"op":"put","value":"a","outcome":"unknown"}`, 1},
	{"two conditions on one value", `{"key":"k","call":1,"return":2,"op":"put","value":"a","outcome":"ok"}
{"key":"k","call":3,"return":5,"op":"cas","expected":"a","value":"b","outcome":"ok"}
{"key":"k","call":3,"return":5,"op":"cas","expected":"a","value":"c","outcome":"ok"}`, 1},
	{"one of them fails", `{"key":"k","call":1,"return":2,"op":"put","value":"a","outcome":"ok"}
{"key":"k","call":3,"return":5,"op":"cas","expected":"a","value":"b","outcome":"ok"}
{"key":"k","call":3,"return":5,"op":"cas","expected":"a","value":"c","outcome":"failed","read":"b"}`, 0},
	{"a condition fails though it was true", `{"key":"k","call":1,"return":2,"op":"put","value":"a","outcome":"ok"}
{"key":"k","call":3,"return":5,"op":"cas","expected":"a","value":"c","outcome":"failed","read":"a"}`, 1},
	{"what a delete replaced", `{"key":"k","call":1,"return":2,"op":"put","value":"a","outcome":"ok"}
{"key":"k","call":3,"return":5,"op":"delete","outcome":"ok","read":"b"}`, 1},
	{"keys are by themselves", `{"key":"k","call":1,"return":2,"op":"put","value":"a","outcome":"ok"}
{"key":"l","call":3,"return":4,"op":"get","outcome":"ok"}`, 0},
	{"nothing", ``, 2},
	{"no operation", `{"key":"k","call":1,"return":2,"op":"pull","outcome":"ok"}`, 2},
	{"no JSON", `put`, 2},
}

func TestHistoriesAreJudged(t *testing.T) {
	for _, history := range histories {
		path := filepath.Join(t.TempDir(), "history")
		if err := os.WriteFile(path, []byte(history.lines), 0o600); err != nil {
			t.Fatal(err)
		}
		if status := judge(path); status != history.status {
			t.Errorf("%s: %d instead of %d", history.name, status, history.status)
		}
	}
}
