package demo

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bulkhead/examples"
	"bulkhead/pkg/lab"
)

// simulated is put before every figure that comes from the simulated account.
const simulated = "[simulated AWS]"

// hybrid is a run of the demo with a cloud: the plant and its gateway are namespaces and
// a kernel, the account is a simulation (drivers/aws/awstest).
type hybrid struct {
	*demo
	e *estate
	// told are the sums of the rounds, by the kind of flow.
	told []tally
}

// tally is what was asked of one kind of flow, over all rounds.
type tally struct {
	what                    string
	asked, permits, differs int
}

func hybridCables() []cable {
	return []cable{
		{"office", "10.50.1", "", []string{"desk-1", "desk-2"}},
		{"control", "10.50.3", "", []string{"historian-1", "hmi-1"}},
		{"cell", "10.50.2", "", []string{"plc-1", "plc-2"}},
		{"mgmt", "10.50.9", "", []string{"mgmt-1"}},
		{"app", "10.40.1", "", []string{"collector-1", "collector-2", "dashboard-1", "dashboard-2"}},
		{"data", "10.41.1", "", []string{"store-1", "batch-1"}},
	}
}

// beginHybrid makes the copies of the site: the one that Bulkhead works on, which asks the
// account, and the one that the demo judges by, which is told by the simulation itself.
func beginHybrid(d *demo) (*hybrid, error) {
	h := &hybrid{demo: d, e: newEstate()}
	truth := h.truthDir()
	if err := examples.Write("hybrid", truth); err != nil {
		return nil, err
	}
	for _, err := range []error{
		os.Rename(filepath.Join(d.siteDir(), "aws.yaml.example"), filepath.Join(d.siteDir(), "aws.yaml")),
		os.Remove(filepath.Join(d.siteDir(), "inventory", "cloud.csv")),
	} {
		if err != nil {
			return nil, fmt.Errorf("let the site ask the account: %w", err)
		}
	}
	return h, h.judgeAnew(context.Background())
}

func (h *hybrid) truthDir() string { return filepath.Join(h.dir, "truth") }

// judgeAnew works out what the policy says of the account as it is now. It is not asked by
// the way that Bulkhead asks: what that misreads must show.
func (h *hybrid) judgeAnew(ctx context.Context) error {
	var b strings.Builder
	w := csv.NewWriter(&b)
	rows := [][]string{{"id", "kind", "addresses", "labels.Name", "labels.app", "attributes.region"}}
	for _, name := range h.e.names() {
		m := h.e.in[name]
		rows = append(rows, []string{m.instance, "instance", m.addr, name, h.e.tag(name, "app"), simRegion})
	}
	if err := w.WriteAll(rows); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(h.truthDir(), "inventory", "cloud.csv"), []byte(b.String()), 0o644); err != nil {
		return err
	}
	s, err := loadSite(ctx, h.truthDir())
	if err == nil {
		h.site = s
	}
	return err
}

// build lays the plant out, with a namespace at each instance's address: behind the
// tunnels somebody has to receive the gateway's packets. The account is served inside of
// the gateway, where Bulkhead runs.
func (h *hybrid) build() error {
	var t lab.Topology
	for i, c := range hybridCables() {
		s := lab.Segment{Name: c.name, Interface: fmt.Sprintf("eth%d", i+1), Addresses: []netip.Prefix{netip.MustParsePrefix(c.four + ".254/24")}}
		for _, id := range c.assets {
			at := h.e.in[id].addr
			if a := h.site.Inventory.Lookup(id); a != nil {
				at = a.Addresses[0].Addr().String()
			}
			addr, err := netip.ParseAddr(at)
			if err != nil {
				return fmt.Errorf("the demo's plant has no asset %q", id)
			}
			s.Hosts = append(s.Hosts, lab.Host{Name: id, Addresses: []netip.Prefix{onLink(addr)}})
		}
		t.Segments = append(t.Segments, s)
	}
	var err error
	if h.net, err = lab.Build(t); err != nil {
		return fmt.Errorf("lay the plant out: %w", err)
	}
	if h.prober, err = lab.NewProber(h.net); err != nil {
		return err
	}
	var url string
	if err := h.net.Gateway.Do(func() (err error) {
		var stop func()
		url, stop, err = h.e.w.Start()
		h.stop = func() error { stop(); return nil }
		return err
	}); err != nil {
		return fmt.Errorf("serve the simulated account: %w", err)
	}
	key := h.e.key()
	none := filepath.Join(h.dir, "none")
	h.env = []string{"AWS_ENDPOINT_URL=" + url, "AWS_ACCESS_KEY_ID=" + key.ID, "AWS_SECRET_ACCESS_KEY=" + key.Secret, "AWS_SESSION_TOKEN=", "AWS_PROFILE=",
		"AWS_CONFIG_FILE=" + none, "AWS_SHARED_CREDENTIALS_FILE=" + none, "AWS_EC2_METADATA_DISABLED=true"}
	return nil
}

// compare asks every pair of machines about every service: real packets where the gateway
// is between them, the simulated groups where an end is an instance. Each point on the
// path has to say what the policy says, by itself.
func (h *hybrid) compare(ctx context.Context, name string) error {
	list := slices.DeleteFunc(samples(h.site.Config.Book), func(s sample) bool { return !s.family(true) || s.fragments > 0 })
	round := []tally{{what: "inside the plant: packets through the gateway"}, {what: "plant and cloud: packets through the gateway"},
		{what: "plant and cloud: the instance's groups, simulated"}, {what: "among instances: both ends' groups, simulated"}}
	var wrong []string
	tell := func(kind int, q question, got bool, where string) {
		t := &round[kind]
		t.asked++
		t.permits += number(q.permit)
		if got != q.permit {
			t.differs++
			wrong = append(wrong, fmt.Sprintf("%s: policy says %v by %s, and it is %v", where, q.permit, q.by, got))
		}
	}
	type sent struct {
		kind  int
		q     question
		where string
	}
	var probes []lab.Probe
	var asked []sent
	for _, from := range h.net.Hosts() {
		for _, to := range h.net.Hosts() {
			a, inCloud := h.e.in[from]
			b, toCloud := h.e.in[to]
			if from == to || inCloud == toCloud && !inCloud && !h.net.Crosses(from, to) {
				continue
			}
			src, dst := h.net.Addr(from, true), h.net.Addr(to, true)
			for i, s := range list {
				q, where := h.judge(i, src, dst, s), fmt.Sprintf("%s -> %s %s", from, to, s)
				if inCloud || toCloud {
					kind := 2 + number(inCloud && toCloud)
					tell(kind, q, h.e.permits(a.eni, b.eni, src, dst, s), where+", "+round[kind].what)
				}
				if !inCloud || !toCloud {
					probes = append(probes, lab.Probe{From: from, Dst: dst, Proto: s.proto, Num: s.num})
					asked = append(asked, sent{number(inCloud || toCloud), q, where})
				}
			}
		}
	}
	results, err := h.prober.Run(ctx, probes, lab.ProbeOptions{})
	if err != nil {
		return fmt.Errorf("send packets: %w", err)
	}
	for i, r := range results {
		tell(asked[i].kind, asked[i].q, r.Got, asked[i].where+", "+round[asked[i].kind].what)
	}
	for _, t := range round {
		h.say("%-50s %5s, %s permitted, %s disagree", t.what, count(t.asked), count(t.permits), count(t.differs))
	}
	h.add(round)
	for _, w := range wrong[:min(5, len(wrong))] {
		h.say("WRONG: %s", w)
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%w: %d answers (%s)", ErrDisagree, len(wrong), name)
	}
	return nil
}

func (h *hybrid) add(round []tally) {
	if h.told == nil {
		h.told = make([]tally, len(round))
	}
	for i, t := range round {
		s := &h.told[i]
		s.what = t.what
		s.asked, s.permits, s.differs = s.asked+t.asked, s.permits+t.permits, s.differs+t.differs
	}
}

// sums prints what was asked over all rounds.
func (h *hybrid) sums() {
	fmt.Fprintf(h.opt.Out, "\nWhat was asked over all rounds, and held against the reference evaluator\n\n")
	for _, t := range h.told {
		h.say("%-50s %6s, %s permitted, %s disagree", t.what, count(t.asked), count(t.permits), count(t.differs))
	}
}

// mustHold fails where something that the demo shows is not so.
func mustHold(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return errors.Join(ErrDisagree, fmt.Errorf(format, args...))
}
