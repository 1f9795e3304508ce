package file

import (
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"bulkhead/pkg/config/strict"
	"bulkhead/pkg/diag"
)

// rows reads the rows of a CSV file, cell by cell with positions.
type rows struct {
	file   string
	data   []byte
	diags  *diag.List
	ascii  bool     // bytes are characters
	lines  [][]byte // of data, once a place in one is asked for
	cells  []strict.Named
	broken bool // not CSV from here on; reported

	r *csv.Reader // nil for a file without quotes, which needs none

	// Of a file without quotes: what is left of it, and the line that was read. All
	// cells are parts of one text, the only copy of the file.
	rest string
	line int
}

func newRows(file string, data []byte, diags *diag.List) *rows {
	t := &rows{file: file, data: data, diags: diags, ascii: isASCII(data)}
	if bytes.IndexByte(data, '"') < 0 {
		t.rest = string(data)
		return t
	}
	t.r = csv.NewReader(bytes.NewReader(data))
	t.r.FieldsPerRecord = -1 // counted later, so that one short row does not hide the others' mistakes
	t.r.ReuseRecord = true
	return t
}

func isASCII(data []byte) bool {
	for len(data) >= 8 {
		if binary.LittleEndian.Uint64(data)&0x8080808080808080 != 0 {
			return false
		}
		data = data[8:]
	}
	for _, c := range data {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// next returns one row's cells with their positions, or false at the end. The
// cells are good until the next call.
func (t *rows) next() ([]strict.Named, bool) {
	if t.r == nil {
		return t.plain()
	}
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
	t.cells = t.cells[:0]
	for i, v := range row {
		line, col := t.r.FieldPos(i)
		t.cell(v, line, col)
	}
	return t.cells, true
}

// plain is next for a file without quotes. It says what encoding/csv says: empty
// lines are no rows, and a line may end in CR LF.
func (t *rows) plain() ([]strict.Named, bool) {
	for t.rest != "" {
		var text string
		text, t.rest, _ = strings.Cut(t.rest, "\n")
		text = strings.TrimSuffix(text, "\r")
		t.line++
		if text == "" {
			continue
		}
		t.cells = t.cells[:0]
		for off := 0; ; {
			end := strings.IndexByte(text[off:], ',')
			if end < 0 {
				t.cell(text[off:], t.line, off+1)
				return t.cells, true
			}
			t.cell(text[off:off+end], t.line, off+1)
			off += end + 1
		}
	}
	return nil, false
}

func (t *rows) cell(v string, line, col int) {
	n := len(v)
	if !t.ascii {
		col, n = t.column(line, col), utf8.RuneCountInString(v)
	}
	t.cells = append(t.cells, strict.Named{Value: v, Pos: diag.Pos{File: t.file, Line: line, Col: col}, Len: n})
}

// column turns a column in bytes, as encoding/csv counts, into characters.
func (t *rows) column(line, col int) int {
	if t.lines == nil {
		t.lines = bytes.Split(t.data, []byte("\n"))
	}
	if line < 1 || line > len(t.lines) || col < 1 {
		return max(col, 1)
	}
	text := t.lines[line-1]
	return utf8.RuneCount(text[:min(col-1, len(text))]) + 1
}

// fieldMaps makes the labels, or the attributes, of rows. Rows that say the same
// share one map: a hundred thousand assets have a few thousand different ones.
type fieldMaps struct {
	columns     []int
	known       map[string]map[string]string
	key         []byte
	asked, made int
}

// of returns the map of a row, or nil if it says nothing.
func (m *fieldMaps) of(cols []column, row []strict.Named) map[string]string {
	m.key = m.key[:0]
	n := 0
	for _, i := range m.columns {
		// Lengths keep apart what the cells could blur together.
		m.key = binary.AppendUvarint(m.key, uint64(len(row[i].Value)))
		m.key = append(m.key, row[i].Value...)
		if row[i].Value != "" {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	if out, ok := m.known[string(m.key)]; ok {
		m.asked++
		return out
	}
	out := make(map[string]string, n)
	for _, i := range m.columns {
		if row[i].Value != "" {
			out[cols[i].name] = row[i].Value
		}
	}
	m.asked++
	m.made++
	// Where nearly every row differs (serial numbers), remembering them is waste.
	if m.made <= 8192 || m.made <= m.asked-m.asked/8 {
		if m.known == nil {
			m.known = map[string]map[string]string{}
		}
		m.known[string(m.key)] = out
	}
	return out
}
