package daemon

// lookAtState notes whether anything can be written to the state. While nothing can,
// what is confirmed stays in force, and is put back where somebody changes it; nothing
// new is applied. When it can again, devices are not made to wait for their next try.
func (d *Daemon) lookAtState() {
	var text string
	if err := d.o.Store.Writable(); err != nil {
		text = err.Error()
	}
	was := d.View().State
	if text == was {
		return
	}
	d.publish(func(v *View) { v.State = text })
	if was == "" {
		d.o.Log.Error("the state takes nothing new; what is confirmed stays in force, and no more is applied", "error", text)
	}
	if text != "" {
		return
	}
	d.o.Log.Info("the state takes writes again")
	for _, k := range d.known {
		k.retry = d.o.Now()
	}
	d.next.add(why{what: "the state takes writes again", reload: true}, d.o.Now())
}
