package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"bulkhead/bench/harness"
	"bulkhead/drivers/aws"
	"bulkhead/drivers/aws/awstest"
	"bulkhead/inventory"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/prove"
)

// cloudRows are about the security groups of a region that is a simulation in this process.
func cloudRows(s size) []harness.Row {
	const whole = "region"
	return []harness.Row{{
		Name: "cloud", Title: "1,000 instances, 200 classes, 500 rules: a plan of their security groups",
		From: "One region of AWS, which is a simulation in this process: what it answers is not timed. From what was read of it, and the compiled policy, to the change with the proof of what would be installed; first with nothing of ours there, then from the state that this would install, with nothing to do. " +
			"Instances have an IPv4 address each, and neighbours are of different classes, so that no prefix stands for a class.",
		Variants: []harness.Variant{{Name: whole, Run: func(ctx context.Context, r *harness.Recorder) error { return plansCloud(ctx, r, s.instances) }}},
		Goals: []harness.Goal{
			{Text: "1 CPU s, the first plan", Of: harness.Ref{Variant: whole, Figure: "first plan" + harness.CPU}, AtMost: 1},
			{Text: "1 CPU s, with nothing to do", Of: harness.Ref{Variant: whole, Figure: "settled plan" + harness.CPU}, AtMost: 1},
		},
	}}
}

// cloud is a region, with what it is to enforce.
type cloud struct {
	d      *aws.Driver
	want   driver.Desired
	matrix *compile.Matrix
}

func newCloud(dir string, instances int) (*cloud, error) {
	const account, region, site = "111122223333", "eu-central-1", "bench"
	classes, rules := instances/5, instances/2
	w := awstest.New()
	w.Unthrottled()
	a := w.AddAccount(account)
	r := a.Region(region)
	vpc := r.AddVPC("main", "10.0.0.0/16")
	subnet := r.AddSubnet(vpc, region+"a", "10.0.0.0/16", "")
	empty := r.AddGroup(awstest.GroupSpec{VPC: vpc, Name: "empty", Egress: []awstest.RuleSpec{}})
	r.SetQuotas(awstest.Quotas{GroupsPerRegion: 2500, GroupsPerInterface: 5, RulesPerGroup: 60, PrefixLists: 100})
	key := a.AddKey("bulkhead", "ec2:*", "autoscaling:*")
	none := filepath.Join(dir, "none")
	for name, v := range map[string]string{"AWS_ACCESS_KEY_ID": key.ID, "AWS_SECRET_ACCESS_KEY": key.Secret, "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_ENDPOINT_URL": "",
		"AWS_CA_BUNDLE": "", "AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none, "AWS_EC2_METADATA_DISABLED": "true"} {
		if err := os.Setenv(name, v); err != nil {
			return nil, err
		}
	}
	book, assets := &policy.Rulebook{}, []inventory.Asset(nil)
	members := make([][]string, classes)
	var all []netip.Prefix
	for i := range instances {
		addr := netip.AddrFrom4([4]byte{10, 0, byte(16 + i/250), byte(2 + i%250)})
		r.AddInterface(awstest.InterfaceSpec{Subnet: subnet, Groups: []string{empty}, Private: []string{addr.String()}})
		id, p := fmt.Sprintf("i-%05d", i), inventory.HostPrefix(addr)
		members[i%classes] = append(members[i%classes], id)
		assets, all = append(assets, inventory.Asset{ID: id, Kind: inventory.Instance, Addresses: []netip.Prefix{p}}), append(all, p)
	}
	name := func(k int) string { return fmt.Sprintf("class-%03d", k%classes) }
	for k, list := range members {
		book.Groups = append(book.Groups, policy.Group{Name: name(k), Members: list, Isolate: policy.IsolateBoth})
	}
	for _, n := range []string{policy.GroupAny, policy.GroupUnknown, policy.GroupUnidentified} {
		book.Groups = append(book.Groups, policy.Group{Name: n, Isolate: policy.IsolateNone})
	}
	for i := range rules {
		port := uint16(1000 + i%40)
		book.Policies = append(book.Policies, policy.Policy{Name: fmt.Sprintf("p%03d", i), Action: policy.Allow, From: []string{name(i)}, To: []string{name(i*7 + i/classes + 1)},
			Ranges: []policy.Range{{Proto: 6, Lo: port, Hi: port}}, Tier: policy.Application, Order: 100, Direction: policy.Both, Mode: policy.Enforce})
	}
	policy.SortPolicies(book.Policies)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	m, err := compile.Compile(compile.Input{Assets: assets, Book: book, Where: map[string][]string{}, Now: now})
	if err != nil {
		return nil, err
	}
	points := []compile.Point{{Name: "cloud", Mode: policy.Enforce, Endpoint: true, Protects: packet.AddrsOf(all...)}}
	d, err := aws.New(site, aws.Settings{Region: region, Endpoint: "http://aws.invalid", MaxBackoff: time.Millisecond, Patience: time.Minute, Pause: time.Millisecond,
		Exclusive: true, HTTP: w.HTTPClient()})
	return &cloud{d: d, matrix: m, want: driver.Desired{Site: site, Now: now, Points: points, View: compile.NewView(m, points)}}, err
}

// plan goes from what is there to a change, with its proof.
func (c *cloud) plan(have driver.State) (*driver.Change, []prove.Result, error) {
	r, err := c.d.Render(c.want, have)
	if err != nil {
		return nil, nil, err
	}
	ch, err := c.d.Diff(have, r.State)
	if err != nil {
		return nil, nil, err
	}
	d, err := c.d.Decode(r.State)
	if err != nil {
		return nil, nil, err
	}
	return ch, prove.Device(c.matrix, c.want.Points, d, r.Residue...), nil
}

func plansCloud(ctx context.Context, r *harness.Recorder, instances int) error {
	c, err := newCloud(r.Dir, instances)
	if err != nil {
		return err
	}
	defer c.d.Close()
	have, err := c.d.Read(ctx)
	if err != nil {
		return err
	}
	for _, name := range []string{"first plan", "settled plan"} {
		var ch *driver.Change
		var proofs []prove.Result
		err = r.Measure(name, func() (err error) { ch, proofs, err = c.plan(have); return err })
		if err != nil {
			return err
		}
		r.Check(len(proofs) == 1 && proofs[0].Proved, "what would be installed is proved, but for what security groups cannot say")
		r.Check(ch.Empty() == (name != "first plan"), "there is something to do at first, and nothing then")
		have = ch.To
	}
	return nil
}
