package strict

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"bulkhead/pkg/diag"
)

// scalar reads a scalar that has one of the tags.
func scalar(schema Schema, want string, tags []string, read func(d *Decoder, n *yaml.Node)) Value {
	return Value{
		Schema: func() Schema { return schema },
		Read: func(d *Decoder, n *yaml.Node) {
			n, ok := d.enter(n)
			if !ok {
				return
			}
			if n.Kind == yaml.ScalarNode {
				for _, t := range tags {
					if n.ShortTag() == t {
						read(d, n)
						return
					}
				}
			}
			e := d.Errorf(n, "this must be %s, not %s", want, kindName(n))
			if n.Kind == yaml.ScalarNode && tags[0] == "!!str" && !strings.HasPrefix(n.ShortTag(), "!!str") {
				e.Hint = fmt.Sprintf("put it in quotes: %q", n.Value)
			}
		},
	}
}

// Text reads non-empty text and hands it to use, whose error is reported at it.
func Text(schema Schema, use func(Named) error) Value {
	if schema == nil {
		schema = Schema{"type": "string", "minLength": 1}
	}
	return scalar(schema, "text", []string{"!!str"}, useText(use))
}

// Loose is Text that takes numbers, truth values and times too, as they are
// written: for values that are text to us whatever they look like.
func Loose(use func(Named) error) Value {
	schema := Schema{"type": []any{"string", "number", "boolean"}}
	tags := []string{"!!str", "!!int", "!!float", "!!bool", "!!timestamp"}
	return scalar(schema, "text", tags, func(d *Decoder, n *yaml.Node) {
		at := d.named(n)
		if err := use(at); err != nil {
			d.Report(at, err)
		}
	})
}

func useText(use func(Named) error) func(d *Decoder, n *yaml.Node) {
	return func(d *Decoder, n *yaml.Node) {
		at := d.named(n)
		if at.Value == "" {
			d.Errorf(n, "this must not be empty")
			return
		}
		if err := use(at); err != nil {
			d.Report(at, err)
		}
	}
}

// String reads non-empty text into p.
func String(p *string) Value {
	return Text(nil, func(v Named) error { *p = v.Value; return nil })
}

// Place reads non-empty text and its position into p.
func Place(p *Named) Value {
	return Text(nil, func(v Named) error { *p = v; return nil })
}

// Enum reads one of names into p.
func Enum[T ~string](p *T, names ...T) Value {
	plain := make([]string, len(names))
	list := make([]any, len(names))
	for i, n := range names {
		plain[i], list[i] = string(n), string(n)
	}
	return Text(Schema{"enum": list}, func(v Named) error {
		for _, n := range names {
			if v.Value == string(n) {
				*p = n
				return nil
			}
		}
		return Unknown("value", v.Value, plain)
	})
}

// Unknown is the mistake of a word that is none of those known. What says what
// kind of word it is.
func Unknown(what, word string, known []string) error {
	hint := diag.DidYouMean(word, known)
	if hint == "" && len(known) > 0 && len(known) <= 12 {
		hint = "one of: " + strings.Join(known, ", ")
	}
	return &Mistake{Message: fmt.Sprintf("unknown %s %q", what, word), Hint: hint}
}

// Bool reads true or false into p.
func Bool(p *bool) Value {
	return scalar(Schema{"type": "boolean"}, "true or false", []string{"!!bool"}, func(d *Decoder, n *yaml.Node) {
		switch strings.ToLower(n.Value) {
		case "true":
			*p = true
		case "false":
			*p = false
		default:
			d.Errorf(n, "this must be true or false, not %q", n.Value)
		}
	})
}

// Int reads a decimal number from lo to hi into p.
func Int(p *int, lo, hi int) Value {
	schema := Schema{"type": "integer", "minimum": lo, "maximum": hi}
	return scalar(schema, "a whole number", []string{"!!int"}, func(d *Decoder, n *yaml.Node) {
		v, err := strconv.Atoi(n.Value)
		if err != nil || v < lo || v > hi {
			d.Errorf(n, "this must be a whole number from %d to %d, not %q", lo, hi, n.Value)
			return
		}
		*p = v
	})
}

// Duration reads a length of time in Go's notation ("90s", "10m", "1h30m") of
// at least lo into p.
func Duration(p *time.Duration, lo time.Duration) Value {
	schema := Schema{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`}
	return scalar(schema, "a length of time such as 90s or 10m", []string{"!!str", "!!int"}, func(d *Decoder, n *yaml.Node) {
		v, err := time.ParseDuration(n.Value)
		switch {
		case err != nil:
			d.Errorf(n, "%q is not a length of time", n.Value).Hint = "write a number and a unit: 90s, 10m, 1h30m"
		case v < lo:
			d.Errorf(n, "%q is too short, the least is %s", n.Value, lo)
		default:
			*p = v
		}
	})
}

// ParseSpan reads a length of time as Duration does, with days before it ("90d",
// "1d12h"): a day is 24 hours.
func ParseSpan(text string) (time.Duration, error) {
	days, rest, ok := strings.Cut(text, "d")
	if !ok {
		return time.ParseDuration(text)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number of days", days)
	}
	v := time.Duration(n) * 24 * time.Hour
	if rest == "" {
		return v, nil
	}
	more, err := time.ParseDuration(rest)
	return v + more, err
}

// Span reads a length of time that may be long, see ParseSpan, into p.
func Span(p *time.Duration, lo time.Duration) Value {
	schema := Schema{"type": "string", "pattern": `^([0-9]+d)?([0-9]+(\.[0-9]+)?(ms|s|m|h))*$`}
	return scalar(schema, "a length of time such as 90d or 12h", []string{"!!str", "!!int"}, func(d *Decoder, n *yaml.Node) {
		v, err := ParseSpan(n.Value)
		switch {
		case err != nil:
			d.Errorf(n, "%q is not a length of time", n.Value).Hint = "write a number and a unit: 90d, 12h, 1d12h"
		case v < lo:
			d.Errorf(n, "%q is too short, the least is %s", n.Value, lo)
		default:
			*p = v
		}
	})
}

// Time reads a moment in RFC 3339 notation into p.
func Time(p *time.Time) Value {
	schema := Schema{"type": "string", "format": "date-time"}
	return scalar(schema, "a time", []string{"!!str", "!!timestamp"}, func(d *Decoder, n *yaml.Node) {
		v, err := time.Parse(time.RFC3339, n.Value)
		if err != nil {
			d.Errorf(n, "%q is not a time with date, time of day and zone (RFC 3339)", n.Value).Hint = "write it like 2027-01-31T00:00:00Z"
			return
		}
		*p = v.UTC()
	})
}

// Expression reads a non-empty text that another language gives structure to.
// The position is that of the text's first character, inside the quotes or under
// the block indicator, so that positions in the text can be added to it.
func Expression(p *Named) Value {
	schema := Schema{"type": "string", "minLength": 1}
	return scalar(schema, "text", []string{"!!str"}, func(d *Decoder, n *yaml.Node) {
		v := d.named(n)
		if strings.TrimSpace(v.Value) == "" {
			d.Errorf(n, "this expression must not be empty")
			return
		}
		v.Pos = d.textPos(n)
		*p = v
	})
}

// textPos is where the text of a scalar begins.
func (d *Decoder) textPos(n *yaml.Node) diag.Pos {
	pos := d.Pos(n)
	switch {
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		pos.Col++
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		lines := strings.Split(string(d.Source), "\n")
		for i := n.Line; i < len(lines); i++ {
			if text := strings.TrimLeft(lines[i], " "); strings.TrimSpace(text) != "" {
				pos.Line, pos.Col = i+1, len(lines[i])-len(text)+1
				break
			}
		}
	}
	return pos
}
