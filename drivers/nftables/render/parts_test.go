package render_test

import (
	"strings"

	"bulkhead/drivers/nftables/ruleset"
)

// partWeight is how many elements and rules go into one run of nft. Without
// privilege in the first user namespace nft sends no batch above twice
// net.core.wmem_max, 425 kB on a stock kernel; an element takes some 100 bytes of
// it and a rule some 400.
const partWeight = 800

// inParts cuts a table's text into several that nft takes one after the other:
// what is there already, a later part declares again and adds to.
func inParts(t *ruleset.Table) (texts []string) {
	part := *t
	part.Chains, part.Sets = nil, nil
	for i := range t.Chains {
		c := t.Chains[i]
		c.Rules = nil
		part.Chains = append(part.Chains, c)
	}
	for i := range t.Sets {
		s := t.Sets[i]
		s.Elements = nil
		part.Sets = append(part.Sets, s)
	}
	weight := 0
	flush := func() {
		texts = append(texts, part.Text())
		part.Chains, part.Sets, weight = nil, nil, 0
		part.Objects = nil
	}
	flush()
	for i := range t.Sets {
		for rest := t.Sets[i].Elements; len(rest) > 0; {
			s := t.Sets[i]
			n := min(len(rest), partWeight-weight)
			for n < len(rest) && rest[n].Flags&ruleset.ElemIntervalEnd != 0 {
				n++ // an interval stays whole
			}
			s.Elements, rest = rest[:n], rest[n:]
			part.Sets = append(part.Sets, s)
			if weight += n; weight >= partWeight {
				flush()
			}
		}
	}
	for i := range t.Chains {
		if weight += 4 * len(t.Chains[i].Rules); weight > partWeight {
			flush()
			weight = 4 * len(t.Chains[i].Rules)
		}
		part.Chains = append(part.Chains, t.Chains[i])
	}
	flush()
	return texts
}

// script is a shell command that loads texts in order, from files f0, f1, ...
func script(files []string) string {
	return "nft -f '" + strings.Join(files, "' && nft -f '") + "'"
}
