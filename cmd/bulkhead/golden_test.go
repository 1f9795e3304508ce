package main

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"bulkhead/drivers"
	"bulkhead/pkg/reconcile"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The rulesets of the examples, for reading: what a change of the renderer does
// to them shows in its diff. The oracle is the proof, and the nft tool accepts them.
func TestExamplesRendered(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, name := range []string{"plant", "datacenter", "hybrid"} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			s, diags, err := reconcile.Load(ctx, "../../examples/"+name, now, drivers.Kinds(), false)
			if err != nil || diags.HasErrors() {
				t.Fatalf("%v\n%s", err, diags.Text(reconcile.Source("../../examples/"+name, s)))
			}
			devices, err := s.Devices(ctx, true)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.RenderText(devices[slices.IndexFunc(devices, func(d *reconcile.Device) bool { return d.Kind == "nftables" })])
			if err != nil {
				t.Fatal(err)
			}
			file := "../../testdata/" + name + ".nft"
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s is rendered otherwise; read the difference, then run with -update", name)
			}
			if out, err := exec.Command("unshare", "-rn", "nft", "-c", "-f", file).CombinedOutput(); err != nil {
				t.Errorf("nft refuses it: %v: %s", err, out)
			}
		})
	}
}
