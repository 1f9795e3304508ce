package file

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
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
func ReadCSV(file string, data []byte, diags *diag.List) []inventory.Asset {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // spreadsheets write it
	t := &table{file: file, lines: bytes.Split(data, []byte("\n")), diags: diags}
	t.r = csv.NewReader(bytes.NewReader(data))
	t.r.FieldsPerRecord = -1 // counted here, so that one short row does not hide the others' mistakes
	header, ok := t.next()
	if !ok {
		if !t.broken {
			diags.Errorf(diag.Pos{File: file, Line: 1, Col: 1}, "the file is empty").Hint = "a CSV file begins with the header id,kind,addresses,..."
		}
		return nil
	}
	if !t.header(header) {
		return nil
	}
	var out []inventory.Asset
	for {
		row, ok := t.next()
		if !ok {
			return out
		}
		if a, ok := t.asset(row); ok {
			out = append(out, a)
		}
	}
}

// column puts one cell into an asset.
type column func(b builder, cell strict.Named) error

type table struct {
	file   string
	lines  [][]byte
	r      *csv.Reader
	diags  *diag.List
	cols   []column
	id     int // which column it is
	kind   int
	broken bool // not CSV from here on; reported
}

// next returns one row's cells with their positions, or false at the end.
func (t *table) next() ([]strict.Named, bool) {
	row, err := t.r.Read()
	if errors.Is(err, io.EOF) {
		return nil, false
	}
	if err != nil {
		pos := diag.Pos{File: t.file, Line: 1, Col: 1}
		var pe *csv.ParseError
		if errors.As(err, &pe) {
			pos.Line, pos.Col = pe.Line, t.column(pe.Line, pe.Column)
			err = pe.Err
		}
		t.broken = true
		t.diags.Errorf(pos, "not valid CSV: %v", err).Hint = "the rest of the file was not read"
		return nil, false
	}
	cells := make([]strict.Named, len(row))
	for i, v := range row {
		line, col := t.r.FieldPos(i)
		cells[i] = strict.Named{
			Value: v, Pos: diag.Pos{File: t.file, Line: line, Col: t.column(line, col)}, Len: utf8.RuneCountInString(v),
		}
	}
	return cells, true
}

// column turns a column in bytes, as encoding/csv counts, into characters.
func (t *table) column(line, col int) int {
	if line < 1 || line > len(t.lines) || col < 1 {
		return max(col, 1)
	}
	text := t.lines[line-1]
	return utf8.RuneCount(text[:min(col-1, len(text))]) + 1
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
		return func(b builder, c strict.Named) error { return nil }, nil
	case "kind":
		return func(b builder, c strict.Named) error { return b.kind(c) }, nil
	case "addresses":
		return each(builder.address), nil
	case "macs":
		return each(builder.mac), nil
	}
	if n, ok := strings.CutPrefix(name, inventory.FieldLabel); ok {
		return func(b builder, c strict.Named) error { b.label(n, c); return nil }, checkFieldName("a label", n)
	}
	if n, ok := strings.CutPrefix(name, inventory.FieldAttribute); ok {
		return func(b builder, c strict.Named) error { b.attribute(n, c); return nil }, checkFieldName("an attribute", n)
	}
	m := &strict.Mistake{Message: fmt.Sprintf("unknown column %q", name)}
	known := []string{"id", "kind", "addresses", "macs"}
	m.Hint = diag.DidYouMean(name, known)
	if m.Hint == "" {
		m.Hint = "the columns are id, kind, addresses, macs, labels.<name> and attributes.<name>"
	}
	return nil, m
}

// each splits a cell at spaces and puts the parts in one by one. All mistakes of
// the cell are joined.
func each(put func(builder, strict.Named) error) column {
	return func(b builder, c strict.Named) error {
		var errs mistakes
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
			if err := put(b, part); err != nil {
				errs = append(errs, located{part, err})
			}
			off = end
		}
		if errs == nil {
			return nil
		}
		return errs
	}
}

type located struct {
	at  strict.Named
	err error
}

// mistakes are the errors of one cell, each at its own place.
type mistakes []located

func (m mistakes) Error() string { return m[0].err.Error() }

func (t *table) asset(row []strict.Named) (inventory.Asset, bool) {
	if len(row) != len(t.cols) {
		t.diags.Errorf(row[0].Pos, "this row has %d cells, the header %d", len(row), len(t.cols))
		return inventory.Asset{}, false
	}
	id := row[t.id]
	a := inventory.Asset{ID: id.Value, Pos: id.Pos}
	if err := CheckID(id.Value); err != nil {
		strict.Report(t.diags, id, err)
		return a, false
	}
	for i, cell := range row {
		if cell.Value == "" && i != t.id {
			continue
		}
		err := t.cols[i](builder{&a}, cell)
		var many mistakes
		switch {
		case errors.As(err, &many):
			for _, m := range many {
				strict.Report(t.diags, m.at, m.err)
			}
		case err != nil:
			strict.Report(t.diags, cell, err)
		}
	}
	if row[t.kind].Value == "" {
		t.diags.Errorf(id.Pos, "asset %q has no kind", a.ID)
	}
	return a, true
}
