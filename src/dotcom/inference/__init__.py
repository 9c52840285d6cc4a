"""From a checkpoint and any picture to classes, boxes or a mask, and to a drawing of them."""
