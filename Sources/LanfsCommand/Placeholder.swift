enum LanfsCommandPlaceholder {}
