package file

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"bulkhead/inventory"
	"bulkhead/pkg/config/strict"
	"bulkhead/pkg/diag"
)

// ReadCSV reads assets from RFC 4180 CSV with a header row of the columns id,
// kind, addresses, macs, labels.<name> and attributes.<name>, in any order; id
// and kind must be there. Several addresses or MACs in one cell are separated
// by spaces, and an empty cell says nothing. File names the file in positions.
// Every mistake goes to diags; the assets that could be read are returned.
// Assets with the same labels, or the same attributes, share one map.
func ReadCSV(file string, data []byte, diags *diag.List) []inventory.Asset {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // spreadsheets write it
	t := &table{diags: diags, rows: newRows(file, data, diags)}
	// Hardly a row is shorter than 16 bytes: a file of empty lines must not ask for
	// gigabytes.
	t.left = min(bytes.Count(data, []byte("\n")), len(data)/16)
	header, ok := t.rows.next()
	if !ok {
		if !t.rows.broken {
			diags.Errorf(diag.Pos{File: file, Line: 1, Col: 1}, "the file is empty").Hint = "a CSV file begins with the header id,kind,addresses,..."
		}
		return nil
	}
	if !t.header(header) {
		return nil
	}
	var out []inventory.Asset
	for {
		row, ok := t.rows.next()
		if !ok {
			return out
		}
		if a, ok := t.asset(row); ok {
			if out == nil {
				out = make([]inventory.Asset, 0, t.left+1)
			}
			out = append(out, a)
		}
	}
}

// columnKind is what a column is about.
type columnKind int

const (
	columnID columnKind = iota
	columnKindOf
	columnAddresses
	columnMACs
	columnLabel
	columnAttribute
)

// column is one column: of a label or an attribute, also its name, and the name
// of the field that it becomes.
type column struct {
	kind        columnKind
	name, field string
}

type table struct {
	diags      *diag.List
	rows       *rows
	left       int // about so many rows, so that memory is asked for once
	cols       []column
	id         int // which column it is
	kind       int
	labels     fieldMaps
	attributes fieldMaps
	facts      []inventory.Fact // a block that assets get theirs from
}

// header reads the header row, and reports whether rows can be read by it.
func (t *table) header(cells []strict.Named) bool {
	ok := true
	first := map[string]bool{}
	for i, c := range cells {
		c.Value = strings.TrimSpace(c.Value)
		col, err := columnFor(c.Value)
		if err == nil && first[c.Value] {
			err = fmt.Errorf("duplicate column %q", c.Value)
		}
		if err != nil {
			strict.Report(t.diags, c, err)
			ok = false
		}
		switch c.Value {
		case "id":
			t.id = i
		case "kind":
			t.kind = i
		}
		first[c.Value] = true
		t.cols = append(t.cols, col)
		switch col.kind {
		case columnLabel:
			t.labels.columns = append(t.labels.columns, i)
		case columnAttribute:
			t.attributes.columns = append(t.attributes.columns, i)
		}
	}
	for _, need := range []string{"id", "kind"} {
		if !first[need] {
			t.diags.Errorf(cells[0].Pos, "the header has no column %q", need)
			ok = false
		}
	}
	return ok
}

func columnFor(name string) (column, error) {
	switch name {
	case "id":
		return column{kind: columnID}, nil
	case "kind":
		return column{kind: columnKindOf}, nil
	case "addresses":
		return column{kind: columnAddresses}, nil
	case "macs":
		return column{kind: columnMACs}, nil
	}
	if n, ok := strings.CutPrefix(name, inventory.FieldLabel); ok {
		return column{columnLabel, n, name}, checkFieldName("a label", n)
	}
	if n, ok := strings.CutPrefix(name, inventory.FieldAttribute); ok {
		return column{columnAttribute, n, name}, checkFieldName("an attribute", n)
	}
	m := &strict.Mistake{Message: fmt.Sprintf("unknown column %q", name)}
	known := []string{"id", "kind", "addresses", "macs"}
	m.Hint = diag.DidYouMean(name, known)
	if m.Hint == "" {
		m.Hint = "the columns are id, kind, addresses, macs, labels.<name> and attributes.<name>"
	}
	return column{}, m
}

// each splits a cell at spaces and puts the parts in one by one.
func (t *table) each(c strict.Named, put func(strict.Named) error) {
	for off := 0; off < len(c.Value); {
		if c.Value[off] == ' ' {
			off++
			continue
		}
		end := off
		for end < len(c.Value) && c.Value[end] != ' ' {
			end++
		}
		part := strict.Named{Value: c.Value[off:end], Pos: c.Pos}
		part.Len = utf8.RuneCountInString(part.Value)
		part.Pos.Col += utf8.RuneCountInString(c.Value[:off])
		if err := put(part); err != nil {
			strict.Report(t.diags, part, err)
		}
		off = end
	}
}

func (t *table) asset(row []strict.Named) (inventory.Asset, bool) {
	if len(row) != len(t.cols) {
		t.diags.Errorf(row[0].Pos, "this row has %d cells, the header %d", len(row), len(t.cols))
		return inventory.Asset{}, false
	}
	id := row[t.id]
	if err := CheckID(id.Value); err != nil {
		strict.Report(t.diags, id, err)
		return inventory.Asset{}, false
	}
	b := builder{a: &inventory.Asset{ID: id.Value, Pos: id.Pos, Facts: t.room()}}
	for i, cell := range row {
		if cell.Value == "" {
			continue
		}
		switch col := &t.cols[i]; col.kind {
		case columnKindOf:
			if err := b.kind(cell); err != nil {
				strict.Report(t.diags, cell, err)
			}
		case columnAddresses:
			t.each(cell, b.address)
		case columnMACs:
			t.each(cell, b.mac)
		case columnLabel, columnAttribute:
			b.fact(col.field, cell.Value, cell.Pos)
		}
	}
	b.a.Labels = t.labels.of(t.cols, row)
	b.a.Attributes = t.attributes.of(t.cols, row)
	t.take(b.a)
	if row[t.kind].Value == "" {
		t.diags.Errorf(id.Pos, "asset %q has no kind", b.a.ID)
	}
	return *b.a, true
}

// room gives the facts of the next asset a place in the block: one allocation
// for many assets. Facts that do not fit move out of it by themselves.
func (t *table) room() []inventory.Fact {
	if cap(t.facts)-len(t.facts) < len(t.cols) {
		t.facts = make([]inventory.Fact, 0, min(t.left+1, 1024)*len(t.cols))
	}
	return t.facts[len(t.facts):]
}

// take finishes an asset's facts: in the order in which Merge wants them, and
// with no room left behind them that the next asset's are in.
func (t *table) take(a *inventory.Asset) {
	if n := len(a.Facts); n > 0 && n <= cap(t.facts)-len(t.facts) && &a.Facts[0] == &t.facts[:len(t.facts)+1][len(t.facts)] {
		t.facts = t.facts[:len(t.facts)+n]
	}
	a.Facts = slices.Clip(a.Facts)
	inventory.SortFacts(a.Facts)
}
