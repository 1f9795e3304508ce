package inventory_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"bulkhead/inventory"
)

// parts of one source, each with its own machines, heard as well or not at all.
func heardParts(errs map[string]error, names ...string) (out []inventory.Heard) {
	for i, name := range names {
		r := machines(i + 3)
		for j := range r.Assets {
			r.Assets[j].ID = name + "-" + r.Assets[j].ID
		}
		h := inventory.Heard{Source: "cloud/" + name, Of: "cloud", Trust: inventory.TrustFull, StaleAfter: 10 * time.Minute, Where: "bulkhead.yaml:3", Err: errs[name]}
		if h.Err == nil {
			h.Report = r
		}
		out = append(out, h)
	}
	return out
}

func statesOf(list []inventory.Standing) string {
	var out []string
	for i := range list {
		out = append(out, list[i].Source+" "+string(list[i].State))
	}
	return strings.Join(out, ", ")
}

// A part that fails stands on its own last report, and takes nothing from the others,
// nor do they lose by it.
func TestParts(t *testing.T) {
	stand := func(errs map[string]error, known map[string]inventory.Known, accept bool, at time.Duration) ([]inventory.Standing, error) {
		return inventory.Stand(heardParts(errs, "a", "b", "c"), known, 30, every(accept), freezeEpoch.Add(at))
	}
	known := map[string]inventory.Known{}
	remember := func(list []inventory.Standing) {
		for i := range list {
			if list[i].State != inventory.SourceMissing {
				known[list[i].Source] = list[i].Next()
			}
		}
	}
	down := map[string]error{"b": errDown}
	// It never reported: what there is can be looked at, and it is said what is not.
	first, err := stand(down, known, true, 0)
	if err != nil || statesOf(first) != "cloud/a current, cloud/b missing, cloud/c current" || len(first[1].Report.Assets) != 0 {
		t.Fatalf("%s, %v", statesOf(first), err)
	}
	if s := first[1].String(); !strings.Contains(s, `source "cloud/b" is missing: it failed: no route to host; nothing is known of it from before`) {
		t.Error(s)
	}
	remember(first)
	// The same again: nothing was remembered of it that could pass for a report.
	if again, err := stand(down, known, false, time.Minute); err != nil || again[1].State != inventory.SourceMissing {
		t.Errorf("%s, %v", statesOf(again), err)
	}
	well, err := stand(nil, known, false, 2*time.Minute)
	if err != nil || statesOf(well) != "cloud/a current, cloud/b current, cloud/c current" {
		t.Fatalf("%s, %v", statesOf(well), err)
	}
	remember(well)
	frozen, err := stand(map[string]error{"b": errDown, "c": errors.New("denied")}, known, false, 3*time.Minute)
	if err != nil || statesOf(frozen) != "cloud/a current, cloud/b frozen, cloud/c frozen" || len(frozen[1].Report.Assets) != 4 || frozen[2].Why != "it failed: denied" {
		t.Fatalf("%s, %v", statesOf(frozen), err)
	}
	for i := range frozen {
		if frozen[i].Report.Source != "cloud" || frozen[i].Report.Trust != inventory.TrustFull {
			t.Errorf("facts of %s would be %q's, of trust %q", frozen[i].Source, frozen[i].Report.Source, frozen[i].Report.Trust)
		}
	}
	remember(frozen)
	if stale, err := stand(down, known, false, 14*time.Minute); err != nil || statesOf(stale) != "cloud/a current, cloud/b stale, cloud/c current" || len(stale[1].Report.Assets) != 0 {
		t.Errorf("%s, %v", statesOf(stale), err)
	}
	// The loss of one is accepted, and not that of another.
	one := func(source string) bool { return source == "cloud/b" }
	if got, err := inventory.Stand(heardParts(map[string]error{"b": errDown, "c": errDown}, "a", "b", "c"), known, 30, one, freezeEpoch.Add(4*time.Minute)); err != nil || statesOf(got) != "cloud/a current, cloud/b accepted, cloud/c frozen" {
		t.Errorf("%s, %v", statesOf(got), err)
	}
	// All of them at once is no more than any source that never answered.
	if _, err := stand(map[string]error{"a": errDown, "b": errDown, "c": errDown}, nil, false, 0); err == nil || !strings.Contains(err.Error(), `"cloud/a"`) || !strings.Contains(err.Error(), `"cloud/c"`) {
		t.Errorf("nothing was heard, and nothing known: %v", err)
	}
	// Nor does a part of one source speak for another source.
	heard := append(heardParts(nil, "a"), inventory.Heard{Source: "other", Err: errDown})
	if _, err := inventory.Stand(heard, nil, 30, nil, freezeEpoch); err == nil {
		t.Error("a source that never answered passes for a part")
	}
}

// Two parts report as one source: what both see is one asset, and what each sees alone
// stays apart.
func TestPartsMerge(t *testing.T) {
	one, two := machines(2), machines(3)
	two.Assets = two.Assets[1:] // vm-1 is in both
	inv := inventory.Merge([]inventory.Report{one, two}, inventory.MergeOptions{Precedence: []string{"files", "cloud"}})
	if len(inv.Assets) != 3 || len(inv.Conflicts) != 0 {
		t.Errorf("%d assets, conflicts %v", len(inv.Assets), inv.Conflicts)
	}
	if got := inv.Assets[1].Sources(); len(got) != 1 || got[0] != "cloud" {
		t.Errorf("its sources are %q", got)
	}
}

// What a source could not decide is in the inventory's conflicts, and is remembered.
func TestReportedConflicts(t *testing.T) {
	r := machines(1)
	r.Conflicts = []inventory.Conflict{{Kind: inventory.LabelAmbiguous, Field: "labels.App_Name", Claims: []inventory.Claim{{Asset: "vm-0", Value: `"App Name"="x"`}, {Asset: "vm-0", Value: `"App_Name"="y"`}}}}
	b, err := inventory.EncodeReport(&r)
	if err != nil {
		t.Fatal(err)
	}
	back, err := inventory.DecodeReport(b)
	if err != nil {
		t.Fatal(err)
	}
	back.Trust = r.Trust
	for _, x := range []inventory.Report{r, back} {
		inv := inventory.Merge([]inventory.Report{x}, inventory.MergeOptions{})
		if len(inv.Conflicts) != 1 || !strings.Contains(inv.Conflicts[0].String(), `labels.App_Name not set, several tags would be that: vm-0 "App Name"="x"; vm-0 "App_Name"="y"`) {
			t.Errorf("%v", inv.Conflicts)
		}
	}
}
