enum LanfsServerPlaceholder {}
