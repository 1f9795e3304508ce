package classify

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"bulkhead/inventory"
	"bulkhead/pkg/diag"
	"bulkhead/pkg/policy"
)

// Classifier holds a site's compiled expressions. It does not change, and may be
// used from several goroutines.
type Classifier struct {
	rules  []named // groups before extras, each in order of name
	index  *ruleIndex
	labels []use // labels that policies compare

	plain bool // evaluate everything: what tests compare the index with
}

// named is a rule and whose it is: a group's, or an extra's.
type named struct {
	group, extra string
	rule         *rule
}

// Compile compiles the expressions of a book's groups and those in extra (what a
// point protects, by the point's name), and reports every one that is wrong. The
// Classifier lacks those; it is never nil.
func Compile(book *policy.Rulebook, extra map[string]Expr) (*Classifier, *diag.List) {
	var diags diag.List
	c := &Classifier{index: &ruleIndex{}}
	env, err := newEnv()
	if err != nil {
		diags.Errorf(diag.Pos{}, "prepare expressions: %v", err)
		return c, &diags
	}
	for _, g := range book.Groups {
		if g.Where == "" {
			continue
		}
		if r := compileRule(env, Expr{g.Where, g.WherePos}, &diags); r != nil {
			c.rules = append(c.rules, named{group: g.Name, rule: r})
		}
	}
	slices.SortFunc(c.rules, func(a, b named) int { return cmp.Compare(a.group, b.group) })
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		if r := compileRule(env, extra[name], &diags); r != nil {
			c.rules = append(c.rules, named{extra: name, rule: r})
		}
	}
	c.index = newRuleIndex(c.rules)
	for _, p := range book.Policies {
		for _, l := range slices.Concat(p.Same, p.Differ) {
			c.labels = append(c.labels, use{field: inventory.FieldLabel + l, pos: p.Pos})
		}
	}
	return c, &diags
}

// Classify sorts assets into groups. IDs are taken to be unique.
func (c *Classifier) Classify(assets []inventory.Asset) *Result {
	res := &Result{Matches: map[string][]string{}, Extra: map[string][]string{}}
	x := newIndex(assets)
	// Assets are mostly in order of ID: members are, too, then.
	inOrder := true
	for i := 1; i < len(assets) && inOrder; i++ {
		inOrder = assets[i-1].ID <= assets[i].ID
	}
	acts := make([]*activation, len(assets))
	evaluate := func(n *named, i int32) Verdict {
		if acts[i] == nil {
			acts[i] = newActivation(&assets[i])
		}
		return n.rule.evaluate(acts[i])
	}
	for k := range c.rules {
		n := &c.rules[k]
		ids := []string{}
		visit := func(i int32, v Verdict) {
			switch {
			case v.Member:
				ids = append(ids, assets[i].ID)
			case !v.decided():
				res.Undecided = append(res.Undecided, n.undecided(assets[i].ID, v))
			}
		}
		members, settled := n.rule.settled(x, c.plain)
		switch {
		case settled:
			ids = make([]string, len(members))
			for k, i := range members {
				ids[k] = assets[i].ID
			}
		case n.rule.pred == nil || c.plain:
			for i := range assets {
				visit(int32(i), evaluate(n, int32(i)))
			}
		default:
			for _, i := range n.rule.pred.candidates(x) {
				visit(i, n.rule.judge(&assets[i], func() Verdict { return evaluate(n, i) }))
			}
		}
		if !inOrder {
			slices.Sort(ids)
		}
		if n.group != "" {
			res.Matches[n.group] = ids
		} else {
			res.Extra[n.extra] = ids
		}
	}
	slices.SortFunc(res.Undecided, compareUndecided)
	res.Warnings = c.warnings(assets)
	return res
}

// Reclassify says what one asset belongs to: what Classify would say of it.
func (c *Classifier) Reclassify(a *inventory.Asset) Membership {
	m := Membership{Asset: a.ID}
	act := newActivation(a)
	for _, k := range c.index.concern(a) {
		n := &c.rules[k]
		v := n.rule.judge(a, func() Verdict { return n.rule.evaluate(act) })
		switch {
		case v.Member && n.group != "":
			m.Groups = append(m.Groups, n.group)
		case v.Member:
			m.Extra = append(m.Extra, n.extra)
		case !v.decided():
			m.Undecided = append(m.Undecided, n.undecided(a.ID, v))
		}
	}
	slices.SortFunc(m.Undecided, compareUndecided)
	return m
}

// settled lists the members where the index alone knows them, as it does where the
// predicate is the whole expression and no asset lacks what it asks for.
func (r *rule) settled(x *index, plain bool) ([]int32, bool) {
	if r.pred == nil || !r.exact || plain {
		return nil, false
	}
	return r.pred.settled(x)
}

// judge answers by the predicate as far as it goes, and evaluates the rest.
func (r *rule) judge(a *inventory.Asset, evaluate func() Verdict) Verdict {
	if r.pred == nil {
		return evaluate()
	}
	t := r.pred.judge(a, nil)
	switch {
	case t == no:
		return Verdict{}
	case !r.exact:
		return evaluate()
	case t == yes:
		return Verdict{Member: true}
	}
	missing := map[string]bool{}
	r.pred.judge(a, missing)
	return Verdict{Missing: slices.Sorted(maps.Keys(missing))}
}

func (n *named) undecided(asset string, v Verdict) Undecided {
	return Undecided{Group: n.group, Extra: n.extra, Asset: asset, Missing: v.Missing, Problem: v.Problem}
}

func compareUndecided(a, b Undecided) int {
	return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Extra, b.Extra), cmp.Compare(a.Asset, b.Asset))
}

// With returns a result in which one asset belongs to what m says, and to
// nothing else. The receiver stays as it is. Warnings are those of the receiver.
func (r *Result) With(m Membership) *Result {
	out := &Result{Matches: replace(r.Matches, m.Asset, m.Groups), Extra: replace(r.Extra, m.Asset, m.Extra), Warnings: r.Warnings}
	for _, u := range r.Undecided {
		if u.Asset != m.Asset {
			out.Undecided = append(out.Undecided, u)
		}
	}
	out.Undecided = append(out.Undecided, m.Undecided...)
	slices.SortFunc(out.Undecided, compareUndecided)
	return out
}

// replace puts id into the lists that names name, and out of all others. Lists
// that do not change are shared.
func replace(lists map[string][]string, id string, names []string) map[string][]string {
	out := make(map[string][]string, len(lists))
	for name, ids := range lists {
		at, in := slices.BinarySearch(ids, id)
		switch want := slices.Contains(names, name); {
		case want && !in:
			ids = slices.Insert(slices.Clone(ids), at, id)
		case !want && in:
			ids = slices.Delete(slices.Clone(ids), at, at+1)
		}
		out[name] = ids
	}
	return out
}

// warnings names the labels and attributes that expressions or policies compare
// and no asset carries: most likely they are misspelt.
func (c *Classifier) warnings(assets []inventory.Asset) *diag.List {
	if c.allCarried(assets) {
		return &diag.List{}
	}
	carried := map[string]bool{}
	for i := range assets {
		for k := range assets[i].Labels {
			carried[inventory.FieldLabel+k] = true
		}
		for k := range assets[i].Attributes {
			carried[inventory.FieldAttribute+k] = true
		}
	}
	known := slices.Sorted(maps.Keys(carried))
	var out diag.List
	uses := slices.Clone(c.labels)
	for _, n := range c.rules {
		uses = append(uses, n.rule.uses...)
	}
	seen := map[use]bool{}
	for _, u := range uses {
		if carried[u.field] || seen[u] {
			continue
		}
		seen[u] = true
		what, name, _ := strings.Cut(u.field, ".")
		d := out.Warnf(u.pos, "no asset has the %s %q", strings.TrimSuffix(what, "s"), name)
		d.Len, d.Hint = u.len, suggestField(u.field, known)
	}
	return &out
}

// allCarried reports whether there is nothing to warn of. The names of a site with
// a million assets are nearly always on the first few.
func (c *Classifier) allCarried(assets []inventory.Asset) bool {
	open := map[field]bool{}
	for _, n := range c.rules {
		for _, u := range n.rule.uses {
			open[u.of()] = true
		}
	}
	for _, u := range c.labels {
		open[u.of()] = true
	}
	for i := range assets {
		for f := range open {
			if _, ok := f.of(&assets[i]); ok {
				delete(open, f)
			}
		}
		if len(open) == 0 {
			return true
		}
	}
	return len(open) == 0
}

// of gives the field that is used.
func (u use) of() field {
	if name, ok := strings.CutPrefix(u.field, inventory.FieldLabel); ok {
		return field{varLabels, name}
	}
	return field{varAttributes, strings.TrimPrefix(u.field, inventory.FieldAttribute)}
}

// suggestField looks for a name of the same sort first, and then for the same
// name of the other sort: labels.vendor is often attributes.vendor.
func suggestField(f string, known []string) string {
	what, name, _ := strings.Cut(f, ".")
	var same []string
	for _, k := range known {
		if w, n, _ := strings.Cut(k, "."); w == what {
			same = append(same, n)
		} else if n == name {
			return "did you mean \"" + k + "\"?"
		}
	}
	return diag.DidYouMean(name, same)
}
