package strict

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"bulkhead/pkg/diag"
)

// List reads a list, each item with a Value of its own that item makes. Given,
// if not nil, becomes true when there is a list, empty or not.
func List(given *bool, item func() Value) Value {
	return Value{
		Schema: func() Schema { return Schema{"type": "array", "items": item().Schema()} },
		Read: func(d *Decoder, n *yaml.Node) {
			n, ok := d.enter(n)
			if !ok {
				return
			}
			if n.Kind != yaml.SequenceNode {
				d.Errorf(n, "this must be a list, not %s", kindName(n)).Hint = listHint(n)
				return
			}
			if given != nil {
				*given = true
			}
			for _, c := range n.Content {
				item().Read(d, c)
			}
		},
	}
}

func listHint(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return "put it in brackets: [" + n.Value + "]"
	}
	return ""
}

// OneOrMany reads one item, or a list of at least one.
func OneOrMany(item func() Value) Value {
	return Value{
		Schema: func() Schema {
			s := item().Schema()
			return Schema{"anyOf": []any{s, Schema{"type": "array", "items": s, "minItems": 1}}}
		},
		Read: func(d *Decoder, n *yaml.Node) {
			n, ok := d.enter(n)
			if !ok {
				return
			}
			if n.Kind != yaml.SequenceNode {
				item().Read(d, n)
				return
			}
			if len(n.Content) == 0 {
				d.Errorf(n, "this list must not be empty").Hint = "an empty list never means \"any\""
			}
			for _, c := range n.Content {
				item().Read(d, c)
			}
		},
	}
}

// Places reads a list of texts with their positions into p. A given list is not
// nil, even if it is empty.
func Places(p *[]Named) Value {
	var given bool
	list := List(&given, func() Value { return place(p) })
	return Value{Schema: list.Schema, Read: func(d *Decoder, n *yaml.Node) {
		if list.Read(d, n); given && *p == nil {
			*p = []Named{}
		}
	}}
}

// OneOrManyPlaces reads a text or a list of at least one, with positions, into p.
func OneOrManyPlaces(p *[]Named) Value {
	return OneOrMany(func() Value { return place(p) })
}

func place(p *[]Named) Value {
	return Text(nil, func(v Named) error { *p = append(*p, v); return nil })
}

// Map reads a map with names of the file's choosing. Item makes the Value of
// each entry; it is called with a zero Named to ask for the schema.
func Map(item func(key Named) Value) Value {
	return Value{
		Schema: func() Schema {
			return Schema{"type": "object", "additionalProperties": item(Named{}).Schema()}
		},
		Read: func(d *Decoder, n *yaml.Node) {
			n, ok := d.enter(n)
			if !ok {
				return
			}
			d.entries(n, func(key Named, v *yaml.Node) { item(key).Read(d, v) })
		},
	}
}

// entries walks a map, refusing keys that are not text or come twice.
func (d *Decoder) entries(n *yaml.Node, visit func(key Named, v *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.Errorf(n, "this must be a map of keys and values, not %s", kindName(n))
		return
	}
	seen := make(map[string]diag.Pos, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch {
		case k.Kind != yaml.ScalarNode:
			d.Errorf(k, "a key must be text, not %s", kindName(k))
			continue
		case k.ShortTag() == "!!merge":
			d.Errorf(k, "merge keys are not supported").Hint = "write the keys out; every line of a policy should say what it does"
			continue
		case k.ShortTag() == "!!null" || k.Value == "":
			d.Errorf(k, "a key must not be empty")
			continue
		}
		if first, dup := seen[k.Value]; dup {
			d.Errorf(k, "duplicate key %q, first given at %s", k.Value, first)
			continue
		}
		seen[k.Value] = d.Pos(k)
		visit(d.named(k), v)
	}
}

// Object reads a map with a fixed set of keys. What names it in messages ("a
// policy"). Pos, if not nil, is set to where it begins.
func Object(what string, pos *diag.Pos, keys func() []Key) Value {
	return Value{
		Schema: func() Schema { return objectSchema(keys()) },
		Read: func(d *Decoder, n *yaml.Node) {
			n, ok := d.enter(n)
			if !ok {
				return
			}
			if pos != nil {
				*pos = d.Pos(n)
			}
			ks := keys()
			given := make(map[string]bool, len(ks))
			d.entries(n, func(key Named, v *yaml.Node) {
				i := slices.IndexFunc(ks, func(k Key) bool { return k.Name == key.Value })
				if i < 0 {
					d.Report(key, unknownKey(what, key.Value, ks))
					return
				}
				given[key.Value] = true
				ks[i].Value.Read(d, v)
			})
			if n.Kind != yaml.MappingNode {
				return
			}
			for _, k := range ks {
				if k.Required && !given[k.Name] {
					d.Errorf(n, "%s needs %q", what, k.Name)
				}
			}
		},
	}
}

func unknownKey(what, word string, ks []Key) error {
	names := make([]string, len(ks))
	for i, k := range ks {
		names[i] = k.Name
	}
	slices.Sort(names)
	m := &Mistake{Message: fmt.Sprintf("unknown key %q in %s", word, what), Hint: diag.DidYouMean(word, names)}
	if m.Hint == "" {
		m.Hint = "its keys are: " + strings.Join(names, ", ")
	}
	return m
}

func objectSchema(ks []Key) Schema {
	props := Schema{}
	var required []any
	for _, k := range ks {
		s := maps.Clone(k.Value.Schema())
		s["description"] = k.Doc
		props[k.Name] = s
		if k.Required {
			required = append(required, k.Name)
		}
	}
	out := Schema{"type": "object", "properties": props, "additionalProperties": false}
	if required != nil {
		out["required"] = required
	}
	return out
}
