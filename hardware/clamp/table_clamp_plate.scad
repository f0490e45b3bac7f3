// A plate between a table clamp's foot and the arm's printed base: it spreads the force, so that the base
// does not crack, and its pocket keeps the clamp's foot from walking off. Print one for every clamp.

length_mm = 44;             // along the edge of the arm's base
width_mm = 30;
height_mm = 8;
pad_mm = 22;                // diameter of your clamp's foot
pocket_mm = 3;              // how deep the foot sits in the plate
lip_mm = 5;                 // hangs over the edge of the base, so that the plate cannot turn
lip_thickness_mm = 3;
corner_mm = 4;              // radius

$fn = 64;

difference() {
    union() {
        linear_extrude(height_mm) offset(corner_mm) offset(-corner_mm) square([length_mm, width_mm], center = true);
        translate([-length_mm / 2 + corner_mm, width_mm / 2 - lip_thickness_mm, -lip_mm])
            cube([length_mm - 2 * corner_mm, lip_thickness_mm, lip_mm + 1]);
    }
    translate([0, -lip_thickness_mm / 2, height_mm - pocket_mm]) cylinder(d = pad_mm + 1, h = pocket_mm + 1);
}
