package ec2_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/inventory"
	"bulkhead/inventory/ec2"
	"bulkhead/pkg/aws/ec2api"
)

// anyWorld draws a part with all sorts of interfaces, each with an address of its own.
func anyWorld(t *rapid.T) *ec2.World {
	w := &ec2.World{Region: "eu-central-1"}
	n := 0
	next := func() ec2api.Interface {
		n++
		x := eni(fmt.Sprintf("eni-%04d", n), netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}).String())
		x.MAC = fmt.Sprintf("02:00:00:00:%02x:%02x", n>>8, n&255)
		if rapid.Bool().Draw(t, "prefix") {
			x.Prefixes = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(n), 0}), 28)}
		}
		return x
	}
	tags := rapid.MapOfN(rapid.SampledFrom([]string{"a b", "a_b", "a+b", "role", "env"}), rapid.SampledFrom([]string{"x", "y"}), 0, 4)
	state := rapid.SampledFrom([]string{"running", "stopped", "terminated"})
	for i := range rapid.IntRange(0, 6).Draw(t, "instances") {
		x := ec2api.Instance{ID: fmt.Sprintf("i-%d", i), Owner: account, State: state.Draw(t, "state"), Tags: tags.Draw(t, "tags")}
		for range rapid.IntRange(0, 3).Draw(t, "interfaces") {
			e := next()
			e.Instance, e.DeleteOnTermination = x.ID, rapid.Bool().Draw(t, "goes with it")
			if x.State != "terminated" && rapid.IntRange(0, 4).Draw(t, "let go") > 0 {
				x.Interfaces = append(x.Interfaces, e)
			}
			if rapid.IntRange(0, 4).Draw(t, "new") > 0 { // else it came after the interfaces were read
				w.Interfaces = append(w.Interfaces, e)
			}
		}
		w.Instances = append(w.Instances, x)
	}
	groups := [][]string{{"sg-a"}, {"sg-a", "sg-b"}, {"sg-c"}}
	for i := range rapid.IntRange(0, 5).Draw(t, "functions") {
		f := function(fmt.Sprintf("f%d", i), rapid.SampledFrom(groups).Draw(t, "groups"), "subnet-a", "subnet-b")
		f.Tags = tags.Draw(t, "tags")
		w.Functions = append(w.Functions, f)
	}
	for range rapid.IntRange(0, 8).Draw(t, "others") {
		x := next()
		x.Tags = tags.Draw(t, "tags")
		switch rapid.IntRange(0, 4).Draw(t, "sort") {
		case 0:
			x.Instance, x.Owner = rapid.SampledFrom([]string{"i-far", "i-farther"}).Draw(t, "unseen"), theirs
		case 1:
			x.Type, x.RequesterManaged, x.Groups, x.Description = "lambda", true, rapid.SampledFrom(groups).Draw(t, "groups"), "AWS Lambda VPC ENI-x"
		case 2:
			x.RequesterManaged, x.Description = true, "ELB app/x/1"
		case 3:
			x.Type = "branch"
		}
		w.Interfaces = append(w.Interfaces, x)
	}
	return w
}

// Whatever a part holds: each address that somebody holds is in an asset, in one alone
// unless functions share it; nobody is an address's second machine; and the order in
// which AWS answered is not to be seen.
func TestAnyWorld(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyWorld(t)
		s := &ec2.Settings{Functions: rapid.SampledFrom([]ec2.FunctionMode{"", ec2.FunctionsManage, ec2.FunctionsOff}).Draw(t, "functions")}
		r := w.Report(s)
		held := map[netip.Prefix]int{}
		for _, a := range r.Assets {
			if len(a.Addresses) == 0 && a.Kind != inventory.Function && a.Kind != inventory.Instance {
				t.Errorf("%s holds nothing", a.ID)
			}
			for _, p := range a.Addresses {
				if held[p]++; held[p] > 1 && (a.Kind != inventory.Function || a.Attributes["shares_interface"] != "true") {
					t.Errorf("%s holds %s, and is not the first", a.ID, p)
				}
			}
		}
		dead := map[string]bool{}
		for _, i := range w.Instances {
			dead[i.ID] = i.State == "terminated"
			for _, n := range i.Interfaces {
				if held[inventory.HostPrefix(n.Addresses[0])] != 1 {
					t.Errorf("%s of %s is nobody's", n.Addresses[0], i.ID)
				}
			}
		}
		for _, n := range w.Interfaces {
			if gone := dead[n.Instance] && n.DeleteOnTermination; gone != (held[inventory.HostPrefix(n.Addresses[0])] == 0) {
				t.Errorf("%s of %s: gone is %t", n.Addresses[0], n.ID, gone)
			}
		}
		inv := inventory.Merge([]inventory.Report{{Source: "cloud", Trust: inventory.TrustFull, Assets: r.Assets, Conflicts: r.Conflicts}}, inventory.MergeOptions{})
		for _, c := range inv.Conflicts {
			if c.Kind != inventory.LabelAmbiguous {
				t.Errorf("%s", c)
			}
		}
		if len(inv.Assets) != len(r.Assets) {
			t.Errorf("%d assets of %d", len(inv.Assets), len(r.Assets))
		}
		other := *w
		other.Interfaces, other.Instances, other.Functions = shuffled(w.Interfaces), shuffled(w.Instances), shuffled(w.Functions)
		if again := other.Report(s); !reflect.DeepEqual(again, r) {
			t.Errorf("in another order it is\n%+v, and was\n%+v", again, r)
		}
	})
}

func shuffled[T any](list []T) []T {
	out := append([]T(nil), list...)
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}
