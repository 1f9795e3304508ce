package tries

import (
	"flag"
	"testing"

	"pgregory.net/rapid"
)

func TestCases(t *testing.T) {
	count := func(f func(func(*rapid.T))) (n int) {
		f(func(*rapid.T) { n++ })
		return n
	}
	usually, thirty, two := 100, 30, 2
	if !All {
		usually, thirty, two = 10, 3, 1
	}
	if got := count(func(f func(*rapid.T)) { Check(t, f) }); got != usually {
		t.Errorf("%d cases, want %d", got, usually)
	}
	if got := count(func(f func(*rapid.T)) { Checks(t, 30, f) }); got != thirty {
		t.Errorf("%d of 30 cases, want %d", got, thirty)
	}
	if got := Of(2); got != two {
		t.Errorf("%d of 2 rounds, want %d", got, two)
	}
	if got := len(Some(make([]int, 30))); got != thirty {
		t.Errorf("%d of a list of 30, want %d", got, thirty)
	}
	if got := flag.Lookup("rapid.checks").Value.String(); got != "100" {
		t.Errorf("rapid is left with %s cases", got)
	}
	// Somebody asks for more, and gets it.
	if err := flag.Set("rapid.checks", "300"); err != nil {
		t.Fatal(err)
	}
	defer flag.Set("rapid.checks", "100")
	if got := count(func(f func(*rapid.T)) { Checks(t, 30, f) }); got != 300 {
		t.Errorf("%d cases, asked for 300", got)
	}
}
