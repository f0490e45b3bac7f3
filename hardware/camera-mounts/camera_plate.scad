// A plate for a square board camera: the board sits on four posts, lens outward; its plug and cable go
// through the hole. Both mounts use it. Measure your board: sizes differ between makers.

board_mm = 32;              // outer size of the camera's board
hole_spacing_mm = 28;       // between the centres of two neighbouring screw holes
cable_hole_mm = 20;         // the plug on the board's back and its cable pass here
screw_hole_mm = 1.7;        // a core hole for M2 self-tapping screws (they come with the servos)
post_height_mm = 5;         // air for the parts soldered to the board's back
plate_mm = 3;               // thickness

module camera_plate() {
    difference() {
        union() {
            translate([0, 0, plate_mm / 2]) cube([board_mm + 4, board_mm + 4, plate_mm], center = true);
            at_screws() cylinder(d = screw_hole_mm + 3.3, h = plate_mm + post_height_mm);
        }
        translate([0, 0, -1]) cylinder(d = cable_hole_mm, h = plate_mm + 2);
        at_screws() translate([0, 0, -1]) cylinder(d = screw_hole_mm, h = plate_mm + post_height_mm + 2);
    }
}

module at_screws() {
    for (x = [-1, 1], y = [-1, 1])
        translate([x * hole_spacing_mm / 2, y * hole_spacing_mm / 2, 0]) children();
}
