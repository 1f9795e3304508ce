package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"bulkhead/pkg/diag"
	"bulkhead/pkg/policy"
)

// The bounds on a site directory. They keep a mistaken --site from reading a
// whole disk.
const (
	maxFile  = 64 << 20 // bytes
	maxFiles = 10_000
	maxDepth = 8
)

// othersWrite are the mode bits that let somebody else change a site.
const othersWrite = 0o022

// Load reads the site directory dir: bulkhead.yaml and any other YAML file in
// it, and what is under inventory, policy and tests. Files whose names begin
// with a dot, and those that are neither YAML nor CSV, are left alone.
//
// A directory or a file that its group or everybody may write is refused: who
// can write the site decides what the network does. So is a link that leads out
// of the directory. The site is never nil; see LoadFiles.
func Load(dir string) (*Site, *diag.List) {
	r := gather(dir)
	if r.root == nil {
		return &Site{Dir: dir, Settings: defaults(), Book: &policy.Rulebook{}}, &r.diags
	}
	if len(r.files) == 0 && !r.diags.HasErrors() {
		r.diags.Errorf(diag.Pos{}, "the site directory %q holds no site: there is no YAML file in it", dir).Hint = "bulkhead init writes one"
	}
	site, diags := LoadFiles(r.files)
	site.Dir = dir
	r.diags.Append(diags)
	return site, &r.diags
}

// Unchanged reports whether Load would make the same of the directory that the site
// was loaded from, by its files' contents: reading them takes a hundredth of the
// time that understanding them does. Times and sizes of files are not asked: tools
// that write a file can keep both.
func (s *Site) Unchanged() bool {
	r := gather(s.Dir)
	return r.root != nil && r.diags.Len() == 0 && hashFiles(r.files) == s.Hash
}

// gather reads a site's files. Without a directory it has no root.
func gather(dir string) *reader {
	r := &reader{files: map[string][]byte{}}
	root, err := os.OpenRoot(dir)
	if err != nil {
		r.diags.Errorf(diag.Pos{}, "open the site directory %q: %s", dir, reason(err)).Hint = "name it with --site"
		return r
	}
	defer root.Close()
	r.root = root
	r.dir(".", 0)
	return r
}

// reader gathers a site's files. os.Root holds every open inside the directory,
// links included.
type reader struct {
	root  *os.Root
	files map[string][]byte
	diags diag.List
}

// siteDirs are the directories of a site that hold files.
func siteDirs() []string { return []string{"inventory", "policy", "tests"} }

// dir reads one directory. name is "." for the site itself, where only the
// directories of a site are entered.
func (r *reader) dir(name string, depth int) {
	f, err := r.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold us up
	if err != nil {
		r.refuse(name, "read the directory: %s", reason(err))
		return
	}
	defer f.Close()
	if !r.checkMode(name, f) {
		return
	}
	list, err := f.ReadDir(-1)
	if err != nil {
		r.refuse(name, "read the directory: %s", reason(err))
		return
	}
	for _, e := range list {
		child := path.Join(name, e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		isDir := e.IsDir()
		if e.Type()&fs.ModeSymlink != 0 {
			info, err := r.root.Stat(child)
			if err != nil {
				if wanted(child) || slices.Contains(siteDirs(), child) {
					r.refuse(child, "follow the link: %s", reason(err))
				}
				continue
			}
			isDir = info.IsDir()
		}
		switch {
		case isDir && name == "." && !slices.Contains(siteDirs(), e.Name()):
		case isDir && depth >= maxDepth:
			r.refuse(child, "the directory lies more than %d levels deep", maxDepth)
		case isDir:
			r.dir(child, depth+1)
		case wanted(child):
			r.file(child)
		}
	}
}

// wanted reports whether a file is part of a site, by its name.
func wanted(name string) bool {
	switch path.Ext(name) {
	case ".yaml", ".yml":
		return true
	case ".csv":
		return strings.HasPrefix(name, "inventory/")
	}
	return false
}

func (r *reader) file(name string) {
	f, err := r.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold us up
	if err != nil {
		r.refuse(name, "open the file: %s", reason(err))
		return
	}
	defer f.Close()
	if !r.checkMode(name, f) {
		return
	}
	data, err := readAll(f)
	switch {
	case err != nil:
		r.refuse(name, "read the file: %s", reason(err))
	case len(data) > maxFile:
		r.refuse(name, "the file is larger than %d MiB", maxFile>>20)
	case len(r.files) >= maxFiles:
		r.refuse(name, "the site has more than %d files", maxFiles)
	default:
		r.files[name] = data
	}
}

// readAll reads a file up to one byte more than it may have. It asks for the
// memory once: growing into a large file would copy it several times.
func readAll(f *os.File) ([]byte, error) {
	size := int64(0)
	if info, err := f.Stat(); err == nil {
		size = min(max(info.Size(), 0), maxFile)
	}
	// Without that room to spare the buffer would double to see the end.
	buf := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	_, err := buf.ReadFrom(io.LimitReader(f, maxFile+1))
	return buf.Bytes(), err
}

// checkMode refuses what others may write, and what is neither a file nor a
// directory. It asks the open file, so nobody can swap it in between.
func (r *reader) checkMode(name string, f *os.File) bool {
	info, err := f.Stat()
	if err != nil {
		r.refuse(name, "look at it: %s", reason(err))
		return false
	}
	what := "the file"
	if info.IsDir() {
		what = "the directory"
	} else if !info.Mode().IsRegular() {
		r.refuse(name, "this is not a regular file")
		return false
	}
	m := info.Mode().Perm()
	if m&othersWrite == 0 {
		return true
	}
	who := "its group"
	if m&0o002 != 0 {
		who = "everybody"
	}
	if name == "." {
		what, name = "the site directory", ""
	}
	d := r.diags.Errorf(diag.Pos{File: name}, "%s can be written by %s (mode %04o), who could change what the network does", what, who, m)
	d.Hint = "chmod go-w it"
	return false
}

func (r *reader) refuse(name, format string, args ...any) {
	r.diags.Errorf(diag.Pos{File: name}, "%s", fmt.Sprintf(format, args...))
}

// reason gives an error without the path, which the position names already.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return err.Error()
}
