// Judges a history of operations on registers, one for each key: is there one order of all operations of a key that fits what every
// client was told, and when?
//
//  1. A line of the file is an operation, as JSON (see operation). One whose fate is unknown may have taken effect at any time after it
//     began, or never.
//  2. porcupine looks for the order, key by key.
//  3. Exit status 0: there is one for every key. 1: there is none for the keys that are printed. 2: it cannot be told.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
)

// A key whose order is not found by then is undecided, which is no pass.
const patience = 30 * time.Second

// An operation as a client saw it. Times are nanoseconds of one clock; an empty value says that there is no item.
type operation struct {
	Key    string `json:"key"`
	Client int    `json:"client"`
	Call   int64  `json:"call"`
	Return int64  `json:"return"`
	// get, put, delete; cas: an update on the condition that the value is the expected one.
	Op       string `json:"op"`
	Value    string `json:"value"`
	Expected string `json:"expected"`
	// ok, failed (the condition was false), unknown.
	Outcome string `json:"outcome"`
	// What a get or a failed condition showed, or what a put or a delete replaced.
	Read string `json:"read"`
}

// One register; its state is its value.
var register = porcupine.Model{
	Init: func() interface{} { return "" },
	Step: func(state, input, _ interface{}) (bool, interface{}) {
		now, asked := state.(string), input.(operation)
		unknown := asked.Outcome == "unknown"
		shown := unknown || now == asked.Read
		switch asked.Op {
		case "get":
			return shown, now
		case "put":
			return shown, asked.Value
		case "delete":
			return shown, ""
		}
		if asked.Outcome == "failed" {
			return shown && now != asked.Expected, now
		}
		if now == asked.Expected {
			return true, asked.Value
		}
		return unknown, now
	},
	DescribeOperation: func(input, _ interface{}) string { return fmt.Sprintf("%+v", input) },
}

func (asked operation) check() error {
	switch asked.Op {
	case "get", "put", "delete", "cas":
	default:
		return fmt.Errorf("there is no operation %q", asked.Op)
	}
	switch asked.Outcome {
	case "ok", "unknown":
	case "failed":
		if asked.Op != "cas" {
			return fmt.Errorf("a %s has no condition that fails", asked.Op)
		}
	default:
		return fmt.Errorf("there is no outcome %q", asked.Outcome)
	}
	if asked.Outcome != "unknown" && asked.Return < asked.Call {
		return fmt.Errorf("it ended before it began")
	}
	return nil
}

// The operations of each key; reads that were not answered say nothing.
func read(path string) (map[string][]porcupine.Operation, int, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	keys, unknown := map[string][]porcupine.Operation{}, 0
	lines := bufio.NewScanner(file)
	for number := 1; lines.Scan(); number++ {
		var asked operation
		err := json.Unmarshal(lines.Bytes(), &asked)
		if err == nil {
			err = asked.check()
		}
		if err != nil {
			return nil, 0, fmt.Errorf("%s:%d: %w", path, number, err)
		}
		ends := asked.Return
		if asked.Outcome == "unknown" {
			if asked.Op == "get" {
				continue
			}
			unknown++
			ends = math.MaxInt64
		}
		keys[asked.Key] = append(keys[asked.Key], porcupine.Operation{ClientId: asked.Client, Input: asked, Call: asked.Call, Return: ends})
	}
	return keys, unknown, lines.Err()
}

func judge(path string) int {
	keys, unknown, err := read(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	names, operations, status := make([]string, 0, len(keys)), 0, 0
	for key, history := range keys {
		names = append(names, key)
		operations += len(history)
	}
	sort.Strings(names)
	for _, key := range names {
		switch porcupine.CheckOperationsTimeout(register, keys[key], patience) {
		case porcupine.Ok:
		case porcupine.Illegal:
			fmt.Printf("%s: not linearizable (%d operations)\n", key, len(keys[key]))
			status = max(status, 1)
		default:
			fmt.Printf("%s: undecided after %s (%d operations)\n", key, patience, len(keys[key]))
			status = 2
		}
	}
	fmt.Printf("%d keys, %d operations, %d of unknown fate\n", len(keys), operations, unknown)
	if operations == 0 {
		fmt.Println("an empty history proves nothing")
		return 2
	}
	return status
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: linearizability HISTORY")
		os.Exit(2)
	}
	os.Exit(judge(os.Args[1]))
}
