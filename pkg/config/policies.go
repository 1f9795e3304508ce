package config

import (
	"slices"

	"go.yaml.in/yaml/v4"

	"bulkhead/pkg/config/strict"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/policy"
)

// rawPolicy is a policy as written.
type rawPolicy struct {
	pos      diag.Pos
	name     strict.Named
	from, to []strict.Named
	services []strict.Named
	same     []strict.Named
	differ   []strict.Named
	tier     string
	p        policy.Policy // what needs no resolving
}

func (l *loader) policiesValue() strict.Value {
	return strict.List(nil, func() strict.Value {
		r := &rawPolicy{tier: policy.Application.String(), p: policy.Policy{
			Order: DefaultPolicyOrder, Direction: policy.Both, Mode: policy.Enforce,
		}}
		v := strict.Object("a policy", &r.pos, func() []strict.Key { return policyKeys(r) })
		return strict.Value{Schema: v.Schema, Read: func(d *strict.Decoder, n *yaml.Node) {
			v.Read(d, n)
			l.policies = append(l.policies, r)
		}}
	})
}

func policyKeys(r *rawPolicy) []strict.Key {
	p := &r.p
	name := strict.Text(nil, func(v strict.Named) error {
		r.name = v
		return checkName("policy", v.Value)
	})
	return []strict.Key{
		{Name: "name", Required: true, Doc: "Its name, which also breaks ties of order.", Value: name},
		{Name: "from", Required: true, Doc: "The groups that open flows.", Value: strict.OneOrManyPlaces(&r.from)},
		{Name: "to", Required: true, Doc: "The groups that flows go to.", Value: strict.OneOrManyPlaces(&r.to)},
		{Name: "services", Required: true, Doc: "Services by name, or literals such as tcp/443; any for all.", Value: strict.OneOrManyPlaces(&r.services)},
		{Name: "action", Required: true, Doc: "What happens to its flows; pass skips to the next tier.", Value: strict.Enum(&p.Action, policy.Allow, policy.Deny, policy.Pass)},
		{Name: "tier", Doc: "The tier it is in (default application).", Value: strict.Enum(&r.tier, policy.TierNames()...)},
		{Name: "order", Doc: "Its place in the tier, lowest first (default 100).", Value: strict.Int(&p.Order, 0, 1_000_000)},
		{Name: "direction", Doc: "The side whose judgement it takes part in (default both).", Value: strict.Enum(&p.Direction, policy.Both, policy.Ingress, policy.Egress)},
		{Name: "mode", Doc: "Whether it is enforced, or only evaluated and reported (default enforce).", Value: strict.Enum(&p.Mode, policy.Enforce, policy.Observe)},
		{Name: "same", Doc: "Labels of which both ends must share a value.", Value: strict.OneOrManyPlaces(&r.same)},
		{Name: "differ", Doc: "Labels that both ends must have, without sharing a value.", Value: strict.OneOrManyPlaces(&r.differ)},
		{Name: "log", Doc: "Whether its flows are logged.", Value: strict.Bool(&p.Log)},
		{Name: "expires", Doc: "When it ceases to be (RFC 3339).", Value: strict.Time(&p.Expires)},
		{Name: "owner", Doc: "Who answers for it.", Value: note(&p.Owner)},
		{Name: "ticket", Doc: "Where it was asked for.", Value: note(&p.Ticket)},
		{Name: "reason", Doc: "Why it is there.", Value: note(&p.Reason)},
	}
}

// note is free text; a bare ticket number is text too.
func note(p *string) strict.Value {
	return strict.Loose(func(v strict.Named) error { *p = v.Value; return nil })
}

func (l *loader) resolvePolicies() {
	first := map[string]diag.Pos{}
	for _, r := range l.policies {
		if r.name.Value != "" {
			if at, dup := first[r.name.Value]; dup {
				l.duplicate("policy", r.name, at)
				continue
			}
			first[r.name.Value] = r.name.Pos
		}
		p := r.p
		p.Name, p.Pos = r.name.Value, r.pos
		p.Tier, _ = policy.ParseTier(r.tier)
		p.From, p.To = l.groupList(r.from), l.groupList(r.to)
		p.Services, p.Ranges = l.serviceList(l.distinct("service", r.services))
		p.Same, p.Differ = l.labelList(r.same), l.labelList(r.differ)
		for _, d := range r.differ {
			if slices.Contains(p.Same, d.Value) {
				e := l.diags.Errorf(d.Pos, "label %q cannot be both the same and different: the policy would never apply", d.Value)
				e.Len = d.Len
			}
		}
		l.site.Book.Policies = append(l.site.Book.Policies, p)
	}
	policy.SortPolicies(l.site.Book.Policies)
}

func (l *loader) groupList(refs []strict.Named) []string {
	var out []string
	for _, r := range l.distinct("group", refs) {
		if l.groupRef(r) {
			out = append(out, r.Value)
		}
	}
	return out
}

func (l *loader) labelList(refs []strict.Named) []string {
	var out []string
	for _, r := range l.distinct("label", refs) {
		out = append(out, r.Value)
	}
	slices.Sort(out)
	return out
}
