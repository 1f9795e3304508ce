package aws_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bulkhead/drivers/aws"
	"bulkhead/drivers/aws/awstest"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest"
)

const (
	account = "111122223333"
	region  = "eu-central-1"
)

// env makes a key the one that the SDK finds, and nothing else.
func env(t testing.TB, k awstest.Key) {
	none := filepath.Join(t.TempDir(), "none")
	for name, v := range map[string]string{
		"AWS_ACCESS_KEY_ID": k.ID, "AWS_SECRET_ACCESS_KEY": k.Secret, "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_ENDPOINT_URL": "", "AWS_CA_BUNDLE": "",
		"AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, v)
	}
}

// site is a region under test.
type site struct {
	w     *awstest.World
	r     awstest.Region
	vpc   string
	sub   string
	empty string // a group of somebody else's that lets nothing pass
	s     aws.Settings
}

// newSite is a region with a VPC whose resolver is in nobody's way.
func newSite(t testing.TB) *site {
	w := awstest.New()
	w.Unthrottled()
	a := w.AddAccount(account)
	e := &site{w: w, r: a.Region(region)}
	e.vpc = e.r.AddVPC("main", "100.64.0.0/16", "10.0.0.0/16", "2001:db8::/56")
	e.sub = e.r.AddSubnet(e.vpc, region+"a", "10.0.0.0/16", "2001:db8::/64")
	e.empty = e.r.AddGroup(awstest.GroupSpec{VPC: e.vpc, Name: "empty", Egress: []awstest.RuleSpec{}})
	e.r.SetQuotas(awstest.Quotas{GroupsPerRegion: 2500, GroupsPerInterface: 5, RulesPerGroup: 200, PrefixLists: 100})
	env(t, a.AddKey("bulkhead", "ec2:*", "autoscaling:*"))
	e.s = aws.Settings{Region: region, Endpoint: "http://aws.invalid", MaxBackoff: time.Millisecond, RulesPerGroup: 200, GroupsPerInterface: 5,
		Patience: 2 * time.Second, Pause: time.Millisecond}
	return e
}

// eni makes an interface with some addresses.
func (e *site) eni(groups []string, addrs ...string) string {
	spec := awstest.InterfaceSpec{Subnet: e.sub, Groups: groups}
	for _, a := range addrs {
		switch {
		case strings.Contains(a, "/"):
			spec.Prefixes = append(spec.Prefixes, a)
		case strings.Contains(a, ":"):
			spec.IPv6 = append(spec.IPv6, a)
		default:
			spec.Private = append(spec.Private, a)
		}
	}
	return e.r.AddInterface(spec)
}

// driver makes a driver with a client of its own, so that the client's own limits, which
// are the process's, keep no test waiting.
func (e *site) driver() *aws.Driver {
	s := e.s
	s.HTTP = e.w.HTTPClient()
	d, err := aws.New(drivertest.Site, s)
	if err != nil {
		panic(err)
	}
	return d
}

// gone is a driver whose device does not answer.
func (e *site) gone() *aws.Driver {
	s := e.s
	s.HTTP = &http.Client{Transport: deaf{}}
	d, err := aws.New(drivertest.Site, s)
	if err != nil {
		panic(err)
	}
	return d
}

type deaf struct{}

func (deaf) RoundTrip(*http.Request) (*http.Response, error) { return nil, http.ErrServerClosed }

func (e *site) dump(ours bool) []byte {
	var groups []awstest.Group
	mine := map[string]bool{}
	for _, g := range e.r.Groups() {
		if g.Tags["bulkhead:site"] == drivertest.Site {
			mine[g.ID] = true
			if !ours {
				continue
			}
		}
		groups = append(groups, g)
	}
	ifaces := slices.Clone(e.r.Interfaces())
	for i := range ifaces {
		if !ours {
			ifaces[i].Groups = slices.DeleteFunc(slices.Clone(ifaces[i].Groups), func(id string) bool { return mine[id] })
		}
	}
	out, err := json.MarshalIndent(struct {
		Groups     []awstest.Group
		Interfaces []awstest.Interface
	}{groups, ifaces}, "", " ")
	if err != nil {
		panic(err)
	}
	return out
}

// judge asks the world's own judge what it does with flows.
func (e *site) judge(s *aws.State, src, dst netip.Addr) func(uint32, uint16) bool {
	w, r := e.w, e.r
	from, to := holder(r, src), holder(r, dst)
	sends, receives := judged(s, from), judged(s, to)
	return func(service uint32, port uint16) bool {
		f := awstest.Flow{From: from, To: to, Src: src, Dst: dst, Protocol: uint8(service >> 16), Port: uint16(service), Type: uint8(service >> 8), Code: uint8(service)}
		switch {
		case f.Protocol == 58 && !dst.Is4() && 133 <= f.Type && f.Type <= 137:
			return true
		case dst.String() == "255.255.255.255" && f.Protocol == 17 && f.Port == 67 && port == 68:
			return true
		case dst.IsMulticast() || dst.String() == "255.255.255.255":
			return false
		}
		return (!sends || w.Leaves(f)) && (!receives || w.Enters(f))
	}
}

func holder(r awstest.Region, a netip.Addr) string {
	for _, i := range r.Interfaces() {
		if i.Holds(a) {
			return i.ID
		}
	}
	return ""
}

func judged(s *aws.State, id string) bool {
	for _, n := range s.Interfaces {
		if n.ID != id {
			continue
		}
		for _, g := range s.Groups {
			if g.Ours && g.Of == "" && slices.Contains(n.Groups, g.Key) {
				return true
			}
		}
	}
	return false
}

// as gives a world in which the state is real.
func (e *site) as(s *aws.State) (*awstest.World, awstest.Region) {
	w := e.w.Clone()
	r := w.In(e.r)
	id := map[string]string{}
	for i, g := range s.Groups {
		if g.Ours {
			id[g.Key] = r.AddGroup(awstest.GroupSpec{VPC: g.VPC, Name: fmt.Sprintf("copy %d", i), Ingress: []awstest.RuleSpec{}, Egress: []awstest.RuleSpec{}})
		}
	}
	for _, g := range s.Groups {
		if !g.Ours {
			continue
		}
		for _, x := range g.Rules {
			n := awstest.RuleSpec{Protocol: x.Protocol, From: x.From, To: x.To, PrefixList: x.List, Group: cmp.Or(id[x.Peer], x.Peer)}
			if x.Prefix.IsValid() {
				n.CIDR = x.Prefix.String()
			}
			r.AddRules(id[g.Key], x.Egress, n)
		}
	}
	for _, n := range s.Interfaces {
		var groups []string
		for _, k := range n.Groups {
			if id[k] != "" {
				k = id[k]
			}
			groups = append(groups, k)
		}
		r.SetGroups(n.ID, groups...)
	}
	return w, r
}

func stateOf(s driver.State) *aws.State { return s.(*aws.State) }
