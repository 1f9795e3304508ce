package ruleset

import (
	"fmt"
	"strings"
)

// Table flags (NFT_TABLE_F_*).
const (
	TableDormant uint32 = 0x1
	TableOwner   uint32 = 0x2
	TablePersist uint32 = 0x4
)

// Text is the table in nft's language: `nft -f` loads it. Sets are printed by
// their TypeText and rules by their Text, which only the renderer gives; a rule
// without is shown as a comment. The flags owner and persist are comments too:
// the first would end with the nft that loads it, the second is newer than many.
func (t *Table) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s %s {\n", t.Family, t.Name)
	if t.Flags&TableDormant != 0 {
		b.WriteString("\tflags dormant\n")
	}
	if t.Flags&TableOwner != 0 {
		b.WriteString("\t# flags owner\n")
	}
	if t.Flags&TablePersist != 0 {
		b.WriteString("\t# flags persist\n")
	}
	for i := range t.Objects {
		t.Objects[i].text(&b)
	}
	for i := range t.Sets {
		t.Sets[i].text(&b)
	}
	for i := range t.Chains {
		t.Chains[i].text(&b, t.Family)
	}
	b.WriteString("}\n")
	return b.String()
}

// String is nft's word for the family.
func (f Family) String() string {
	switch f {
	case FamilyInet:
		return "inet"
	case FamilyIPv4:
		return "ip"
	case FamilyIPv6:
		return "ip6"
	case FamilyARP:
		return "arp"
	case FamilyBridge:
		return "bridge"
	case FamilyNetdev:
		return "netdev"
	}
	return fmt.Sprintf("family %d", uint8(f))
}

// objectCounter is NFT_OBJECT_COUNTER.
const objectCounter = 1

func (o *Object) text(b *strings.Builder) {
	if o.Type != objectCounter {
		fmt.Fprintf(b, "\t# object %s of type %d\n", quote(o.Name), o.Type)
		return
	}
	fmt.Fprintf(b, "\tcounter %s {\n\t}\n\n", o.Name)
}

func (s *Set) text(b *strings.Builder) {
	kind := "set"
	if s.Flags&(SetMap|SetObject) != 0 {
		kind = "map"
	}
	fmt.Fprintf(b, "\t%s %s {\n\t\t%s\n", kind, s.Name, s.TypeText)
	if flags := s.flagTexts(); len(flags) > 0 {
		fmt.Fprintf(b, "\t\tflags %s\n", strings.Join(flags, ","))
	}
	if s.Size > 0 {
		fmt.Fprintf(b, "\t\tsize %d\n", s.Size)
	}
	if s.Policy == 1 { // NFT_SET_POL_MEMORY
		b.WriteString("\t\tpolicy memory\n")
	}
	if s.Timeout > 0 {
		fmt.Fprintf(b, "\t\ttimeout %s\n", duration(s.Timeout))
	}
	if s.GCInt > 0 {
		fmt.Fprintf(b, "\t\tgc-interval %dms\n", s.GCInt)
	}
	for _, x := range s.Exprs {
		if x.Name == "counter" {
			b.WriteString("\t\tcounter\n")
		} else {
			fmt.Fprintf(b, "\t\t# each element has: %s\n", x.Name)
		}
	}
	if texts := s.elementTexts(); len(texts) > 0 {
		b.WriteString("\t\telements = {")
		for i, e := range texts {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString("\n\t\t\t")
			b.WriteString(e)
		}
		b.WriteString("\n\t\t}\n")
	}
	b.WriteString("\t}\n\n")
}

func (s *Set) flagTexts() (out []string) {
	for _, f := range []struct {
		bit  uint32
		name string
	}{{SetConstant, "constant"}, {SetInterval, "interval"}, {SetEval, "dynamic"}, {SetTimeout, "timeout"}} {
		if s.Flags&f.bit != 0 {
			out = append(out, f.name)
		}
	}
	return out
}

func (c *Chain) text(b *strings.Builder, f Family) {
	fmt.Fprintf(b, "\tchain %s {\n", c.Name)
	if h := c.Hook; h != nil {
		fmt.Fprintf(b, "\t\ttype %s hook %s", c.Type, h.name(f))
		switch len(h.Devices) {
		case 0:
		case 1:
			fmt.Fprintf(b, " device %s", quote(h.Devices[0]))
		default:
			quoted := make([]string, len(h.Devices))
			for i, d := range h.Devices {
				quoted[i] = quote(d)
			}
			fmt.Fprintf(b, " devices = { %s }", strings.Join(quoted, ", "))
		}
		policy := "accept"
		if c.Policy == 0 { // NF_DROP
			policy = "drop"
		}
		fmt.Fprintf(b, " priority %d; policy %s;\n", h.Priority, policy)
	}
	for i := range c.Rules {
		if r := &c.Rules[i]; r.Text != "" {
			fmt.Fprintf(b, "\t\t%s\n", r.Text)
		} else {
			fmt.Fprintf(b, "\t\t# a rule of %d expressions\n", len(r.Exprs))
		}
	}
	b.WriteString("\t}\n\n")
}

// name is nft's word for the hook, whose numbers differ between families.
func (h *Hook) name(f Family) string {
	names := []string{"prerouting", "input", "forward", "output", "postrouting", "ingress"}
	switch f {
	case FamilyNetdev:
		names = []string{"ingress", "egress"}
	case FamilyARP:
		names = []string{"input", "output", "forward"}
	}
	if int(h.Num) < len(names) {
		return names[h.Num]
	}
	return fmt.Sprintf("%d", h.Num)
}
